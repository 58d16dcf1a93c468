-- then: late entries for visits that are there, and for others
INSERT INTO obs (person_id, concept_id, obs_datetime, value_numeric, date_created, uuid)
SELECT p, 8, timestamp '2022-06-01' + v * interval '30 d' + p * interval '11 min', 60 + v, now(), md5('late' || p || '-' || v)
FROM generate_series(1, 40) p, generate_series(0, 12) v;
-- then: observations are voided, and some come back
UPDATE obs SET voided = true, date_voided = now(), void_reason = 'entered in error' WHERE concept_id = 1 AND person_id < 10;
UPDATE obs SET voided = false WHERE voided AND concept_id = 5;
-- then: as OpenMRS corrects: the old one is voided, a new one takes its place
WITH wrong AS (UPDATE obs SET voided = true WHERE concept_id = 2 AND person_id BETWEEN 10 AND 20 AND NOT voided RETURNING *)
INSERT INTO obs (person_id, concept_id, obs_datetime, value_coded, date_created, uuid, previous_version)
SELECT person_id, concept_id, obs_datetime, 13 - value_coded, now(), md5('new' || obs_id), obs_id FROM wrong;
-- then: the later of two observations goes, the earlier holds again
DELETE FROM obs WHERE uuid IN (SELECT md5(concat_ws('-', p, v, 8, 2)) FROM generate_series(1, 20) p, generate_series(0, 19) v);
DELETE FROM obs WHERE uuid IN (SELECT md5(concat_ws('-', p, v, 8, 1)) FROM generate_series(21, 40) p, generate_series(0, 9) v);
-- later: a new concept and a new patient
INSERT INTO concept (concept_id, uuid) VALUES (100, md5('concept100'));
INSERT INTO concept_name (concept_id, name, locale, locale_preferred, uuid)
VALUES (100, 'SpO₂', 'en', true, md5('nameen100'));
INSERT INTO person (person_id, gender, uuid) VALUES (100, 'M', md5('person100'));
INSERT INTO obs (person_id, concept_id, obs_datetime, value_numeric, date_created, uuid)
SELECT p, 100, timestamp '2024-06-01' + v * interval '1 h', 90 + v, now(), md5('spo' || p || '-' || v)
FROM unnest(ARRAY[1, 2, 100]) p, generate_series(0, 9) v;
-- then: a visit was on another day, and of another patient
UPDATE obs SET obs_datetime = obs_datetime + interval '1 d' WHERE person_id = 30 AND obs_datetime < '2023-06-01';
UPDATE obs SET person_id = 31 WHERE person_id = 32 AND obs_datetime < '2023-06-01';
-- then: and one is voided again
UPDATE obs SET voided = true WHERE concept_id = 100 AND person_id = 2;
