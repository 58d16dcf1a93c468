INSERT INTO tenant.tbl_data_timeseries
    (ship_id, data_channel_id, created_time, server_created_time, bool_v, str_v, long_v, double_v, value_format)
SELECT 'ship-' || s, '/hs/me0' || c || '//' || format,
       timestamp '2024-01-01' + m * interval '15 s', timestamp '2024-01-01' + m * interval '15 s' + interval '2 s',
       CASE format WHEN 'Boolean' THEN random() < 0.5 END,
       CASE format WHEN 'String' THEN 'state ' || (random() * 9)::int END,
       CASE format WHEN 'Integer' THEN (random() * 9e18)::bigint END,
       CASE format WHEN 'Decimal' THEN random() * 1e3 END,
       format
FROM generate_series(1, 3) s, generate_series(0, 199) m, generate_series(1, 4) c,
     unnest(ARRAY['Decimal', 'Integer', 'String', 'Boolean']) format
WHERE random() < 0.8;
