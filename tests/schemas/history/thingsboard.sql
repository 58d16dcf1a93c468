INSERT INTO key_dictionary (key)
VALUES ('temperature'), ('active'), ('firmware'), ('packets'), ('location'), ('온도'), ('Temperature');
INSERT INTO device (id, created_time, type, name)
SELECT md5('device' || d)::uuid, 1704067200000, 'thermometer', 'Thermometer ' || d FROM generate_series(1, 3) d;
INSERT INTO ts_kv (entity_id, key, ts, bool_v, str_v, long_v, dbl_v, json_v)
SELECT md5('device' || d)::uuid, key_id, 1704067200000 + m * 7200000::bigint + d * 7,
       CASE key WHEN 'active' THEN random() < 0.5 END,
       CASE key WHEN 'firmware' THEN 'v1.' || (random() * 9)::int END,
       CASE key WHEN 'packets' THEN (random() * 9e15)::bigint END,
       CASE WHEN lower(key) IN ('temperature', '온도') THEN random() * 40 END,
       CASE key WHEN 'location' THEN json_build_object('lat', round(random()::numeric, 4), 'lon', m) END
FROM generate_series(1, 3) d, generate_series(0, 399) m, key_dictionary
WHERE random() < 0.7;
