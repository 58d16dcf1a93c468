INSERT INTO "TimeSeriesData" ("ShipID", "DataChannelID", "TimeStamp", "Decimal", "Integer", "Boolean", "String", "Quality")
SELECT 'IMO900000' || s,
       '/dnv-v2/vis-3-4a/411.1/C101.31-' || c || '/meta/qty-' || quantity || '/cnt-exhaust.gas/pos-inlet/detail-cylinder',
       timestamptz '2024-01-01+00' + m * interval '30 s',
       CASE quantity WHEN 'temperature' THEN random() * 500 WHEN 'pressure' THEN random() END,
       CASE quantity WHEN 'count' THEN (random() * 9e18)::bigint END,
       CASE quantity WHEN 'alarm' THEN random() < 0.1 END,
       CASE quantity WHEN 'state' THEN 'running ' || (random() * 3)::int END, '0'
FROM generate_series(1, 2) s, generate_series(0, 149) m, generate_series(1, 6) c,
     unnest(ARRAY['temperature', 'pressure', 'count', 'alarm', 'state']) quantity;
