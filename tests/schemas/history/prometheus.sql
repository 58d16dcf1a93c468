INSERT INTO metrics (time, value, labels)
SELECT timestamptz '2024-01-01 00:00:00.123+00' + m * interval '15 s',
       CASE WHEN name = 'up' THEN (random() > 0.1)::int WHEN random() < 0.02 THEN 'NaN' WHEN random() < 0.02 THEN 'Infinity'
            ELSE random() * 1e6 END,
       jsonb_build_object('__name__', name, 'instance', 'host-' || i || ':9100', 'job', 'node')
           || CASE name WHEN 'up' THEN jsonb '{}' ELSE jsonb_build_object('mode', mode) END
FROM (VALUES ('up', ''), ('node_cpu_seconds_total', 'idle'), ('node_cpu_seconds_total', 'user')) series (name, mode),
     generate_series(1, 3) i, generate_series(0, 499) m;
