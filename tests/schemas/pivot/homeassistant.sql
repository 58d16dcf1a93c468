SELECT DISTINCT ON (entity_id, moment)
       '[]', timestamptz 'epoch' + moment * interval '1 us', m.entity_id,
       CASE WHEN state IN ('unknown', 'unavailable') THEN NULL
            WHEN m.entity_id LIKE 'sensor.%' THEN state::float8::text ELSE state END
FROM (SELECT *, round(last_updated_ts::text::numeric * 1000000)::bigint AS moment FROM states) s
JOIN states_meta m USING (metadata_id)
ORDER BY m.entity_id, moment, state_id DESC
