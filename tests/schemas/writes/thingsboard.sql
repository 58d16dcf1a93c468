-- then: late rows, between the others
INSERT INTO ts_kv (entity_id, key, ts, dbl_v)
SELECT md5('device' || d)::uuid, (SELECT key_id FROM key_dictionary WHERE key = 'temperature'),
       1704067200000 + m * 7200000::bigint + 3600001, random()
FROM generate_series(1, 3) d, generate_series(0, 350) m;
-- then: values are corrected
UPDATE ts_kv SET long_v = long_v + 1
WHERE key = (SELECT key_id FROM key_dictionary WHERE key = 'packets') AND ts < 1706000000000;
-- then: readings go
DELETE FROM ts_kv WHERE key = (SELECT key_id FROM key_dictionary WHERE key = '온도') AND ts < 1705000000000;
-- then: readings move inside a partition, to another one, and to another device
UPDATE ts_kv SET ts = ts + 1 WHERE key = (SELECT key_id FROM key_dictionary WHERE key = 'active')
AND ts < 1704500000000;
UPDATE ts_kv SET ts = ts + 2678400500 WHERE key = (SELECT key_id FROM key_dictionary WHERE key = 'firmware')
AND ts < 1704300000000;
UPDATE ts_kv SET entity_id = md5('device4')::uuid
WHERE key = (SELECT key_id FROM key_dictionary WHERE key = 'location') AND entity_id = md5('device2')::uuid;
-- later: a new key, its name in the same transaction
INSERT INTO key_dictionary (key) VALUES ('voltage');
INSERT INTO ts_kv (entity_id, key, ts, dbl_v)
SELECT md5('device' || d)::uuid, (SELECT key_id FROM key_dictionary WHERE key = 'voltage'),
       1706800000000 + m * 1000, 3.3 + random()
FROM generate_series(1, 3) d, generate_series(0, 200) m;
-- then: a new month
CREATE TABLE ts_kv_2024_03 PARTITION OF ts_kv FOR VALUES FROM (1709251200000) TO (1711929600000);
-- then: and readings in it, of a new device too
INSERT INTO ts_kv (entity_id, key, ts, bool_v, dbl_v)
SELECT md5('device' || d)::uuid, key_id, 1709251200000 + m * 60000,
       CASE key WHEN 'active' THEN m % 2 = 0 END, CASE key WHEN 'temperature' THEN m / 7.0 END
FROM generate_series(1, 5) d, generate_series(0, 100) m, key_dictionary WHERE key IN ('active', 'temperature');
-- then: retention deletes old readings
DELETE FROM ts_kv WHERE ts < 1704200000000;
