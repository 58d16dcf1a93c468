SELECT DISTINCT ON (name, person_id, obs_datetime)
       '[]', concat_ws('|', person_id, obs_datetime), name,
       coalesce(value_numeric::text, value_coded::text, value_datetime::text, value_text)
FROM obs JOIN concept_name n USING (concept_id)
WHERE locale = 'en' AND locale_preferred AND NOT n.voided AND NOT obs.voided
ORDER BY name, person_id, obs_datetime, obs_id DESC
