INSERT INTO concept (uuid) SELECT md5('concept' || c) FROM generate_series(1, 8) c;
INSERT INTO concept_name (concept_id, name, locale, locale_preferred, uuid)
SELECT n, (ARRAY['WEIGHT (KG)', 'MALARIA SMEAR', 'RETURN VISIT DATE', 'CLINICIAN NOTES', 'HAEMOGLOBIN', 'POSITIVE',
                 'NEGATIVE', 'PULSE'])[n] || CASE locale WHEN 'fr' THEN ' (fr)' ELSE '' END,
       locale, true, md5('name' || locale || n)
FROM generate_series(1, 8) n, unnest(ARRAY['en', 'fr']) locale;
INSERT INTO concept_name (concept_id, name, locale, locale_preferred, uuid)
VALUES (1, 'BODY WEIGHT', 'en', false, md5('synonym'));
INSERT INTO person (gender, uuid) SELECT 'F', md5('person' || p) FROM generate_series(1, 40) p;
INSERT INTO obs (person_id, concept_id, obs_datetime, value_numeric, value_coded, value_datetime, value_text, date_created,
                 voided, uuid)
SELECT p, c, timestamp '2023-01-01' + v * interval '30 d' + p * interval '11 min',
       CASE WHEN c IN (1, 5, 8) THEN round((random() * 100)::numeric, 1) END,
       CASE WHEN c = 2 THEN 6 + (random() > 0.5)::int END,
       CASE WHEN c = 3 THEN timestamp '2024-01-01' + (random() * 300)::int * interval '1 d' END,
       CASE WHEN c = 4 THEN E'Well.\nNo "complaints".\t' || p END,
       timestamp '2023-01-01' + v * interval '30 d', random() < 0.1, md5(concat_ws('-', p, v, c, n))
FROM generate_series(1, 40) p, generate_series(0, 19) v, unnest(ARRAY[1, 2, 3, 4, 5, 8]) c, generate_series(1, 2) n
WHERE n = 1 OR random() < 0.1;
