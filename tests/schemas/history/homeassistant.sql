INSERT INTO states_meta (entity_id)
VALUES ('sensor.outdoor_temperature'), ('sensor.power'), ('binary_sensor.front_door'), ('person.anna'),
       ('sensor.humidity'), ('weather.home');
INSERT INTO states (state, last_updated_ts, last_changed_ts, metadata_id, origin_idx)
SELECT CASE WHEN entity_id LIKE 'sensor.%' AND random() < 0.1 THEN (ARRAY['unavailable', 'unknown'])[1 + (random() > 0.5)::int]
            WHEN entity_id LIKE 'sensor.%' THEN round((random() * 40 - 10)::numeric, 2)::text
            WHEN entity_id LIKE 'binary_sensor.%' THEN (ARRAY['on', 'off'])[1 + (random() > 0.5)::int]
            WHEN entity_id LIKE 'person.%' THEN (ARRAY['home', 'not_home', '학교'])[1 + (random() * 2)::int]
            ELSE (ARRAY['sunny', 'rainy', ''])[1 + (random() * 2)::int] END,
       (1704067200 + m * 5 + round(random()::numeric, 6))::float8, NULL, metadata_id, 0
FROM states_meta, generate_series(0, 999) m;
-- States of several entities at one moment, and twice the same one.
INSERT INTO states (state, last_updated_ts, metadata_id, origin_idx)
SELECT (m * 10 + twice)::text, 1704070000.25 + m, metadata_id, 0
FROM states_meta, generate_series(0, 99) m, generate_series(1, 2) twice WHERE entity_id LIKE 'sensor.%';
-- Where the later of two states says that nothing is known, nothing is known.
INSERT INTO states (state, last_updated_ts, metadata_id, origin_idx)
SELECT CASE WHEN (m + twice) % 2 = 0 THEN 'unavailable' ELSE '1' END, 1704075000.25 + m, 1, 0
FROM generate_series(0, 99) m, generate_series(1, 2) twice;
