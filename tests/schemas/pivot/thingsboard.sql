SELECT json_build_array(entity_id), timestamptz 'epoch' + ts * interval '1 ms', d.key,
       coalesce(CASE WHEN bool_v THEN 't' WHEN NOT bool_v THEN 'f' END, str_v, long_v::text, dbl_v::text, json_v::text)
FROM ts_kv t JOIN key_dictionary d ON d.key_id = t.key
