SELECT '[]', time,
       (SELECT string_agg(key || '=' || value, ',' ORDER BY key COLLATE "C") FROM jsonb_each_text(labels)), value
FROM metrics
