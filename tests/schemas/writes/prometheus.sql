-- then: late samples, of a target that is new
INSERT INTO metrics (time, value, labels)
SELECT timestamptz '2023-12-31 23:00+00' + m * interval '15 s', m, '{"__name__": "up", "instance": "late:9100", "job": "node"}'
FROM generate_series(0, 300) m;
-- then: samples are corrected, also to numbers that are none
UPDATE metrics SET value = 'NaN' WHERE labels @> '{"__name__": "up", "instance": "host-1:9100"}' AND time < '2024-01-01 00:30+00';
UPDATE metrics SET value = '-Infinity' WHERE labels @> '{"mode": "idle"}' AND time < '2024-01-01 00:05+00';
-- then: retention
DELETE FROM metrics WHERE time < '2024-01-01 00:02+00';
-- then: samples get another time, and another label
UPDATE metrics SET time = time + interval '1 ms' WHERE labels @> '{"mode": "user", "instance": "host-2:9100"}';
UPDATE metrics SET labels = labels || '{"job": "nodes"}' WHERE labels @> '{"__name__": "up", "instance": "host-3:9100"}';
-- later: new series, with labels of their own
INSERT INTO metrics (time, value, labels)
SELECT timestamptz '2024-01-01 03:00+00' + m * interval '15 s', m,
       jsonb_build_object('__name__', 'http_requests_total', 'code', code::text, 'handler', '/api/v1?q="a"', 'job', '웹')
FROM unnest(ARRAY[200, 404, 500]) code, generate_series(0, 99) m;
-- then: and they change
UPDATE metrics SET value = 0 WHERE labels @> '{"code": "404"}';
DELETE FROM metrics WHERE labels @> '{"code": "500"}' AND time < '2024-01-01 03:10+00';
