-- then: late states, at moments of their own and at moments that are there
INSERT INTO states (state, last_updated_ts, metadata_id)
SELECT m::text, 1704070000.25 + m, metadata_id
FROM states_meta, generate_series(0, 49) m WHERE entity_id = 'sensor.power';
-- then: states are corrected
UPDATE states SET state = '1e1' WHERE metadata_id = 1 AND last_updated_ts < 1704067800;
-- then: the purge
DELETE FROM states WHERE last_updated_ts < 1704067500;
-- then: of two states at one moment the later goes, or the earlier
DELETE FROM states WHERE metadata_id = 5 AND state LIKE '%2' AND last_updated_ts BETWEEN 1704070000 AND 1704070040;
DELETE FROM states WHERE metadata_id = 5 AND state LIKE '%1' AND last_updated_ts BETWEEN 1704070050 AND 1704070090;
-- later: a new entity, its name in the same transaction
INSERT INTO states_meta (metadata_id, entity_id) VALUES (100, 'sensor.new'), (101, 'light.kitchen');
INSERT INTO states (state, last_updated_ts, metadata_id)
SELECT CASE metadata_id WHEN 100 THEN m || '.50' ELSE 'on' END, 1704080000.125 + m, metadata_id
FROM generate_series(100, 101) metadata_id, generate_series(0, 99) m;
-- then: states move to another moment and to another entity
UPDATE states SET last_updated_ts = last_updated_ts + 0.5 WHERE metadata_id = 100 AND last_updated_ts < 1704080030;
UPDATE states SET metadata_id = 3 WHERE metadata_id = 101 AND last_updated_ts < 1704080050;
-- then: a state is known after all
UPDATE states SET state = '42' WHERE metadata_id = 2 AND state IN ('unknown', 'unavailable');
