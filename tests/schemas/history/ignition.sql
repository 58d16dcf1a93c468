INSERT INTO sqlth_drv (name, provider) VALUES ('Ignition-plant', 'default');
INSERT INTO sqlth_scinfo (scname, drvid) VALUES ('_exempt_', 1);
INSERT INTO sqlth_te (tagpath, scid, datatype, querymode, created, retired)
VALUES ('line 1/filler/speed', 1, 1, 0, 1700000000000, 1706000000000), ('line 1/filler/count', 1, 0, 0, 1700000000000, NULL),
       ('line 1/filler/state', 1, 2, 0, 1700000000000, NULL), ('line 1/filler/started', 1, 3, 0, 1700000000000, NULL),
       ('line 1/filler/speed', 1, 1, 0, 1706000000000, NULL), ('line 2/oven/temperature', 1, 1, 0, 1700000000000, NULL);
INSERT INTO sqlth_partitions (pname, drvid, start_time, end_time, blocksize, flags)
VALUES ('sqlt_data_1_2024_01', 1, 1704067200000, 1706745600000, 0, 0),
       ('sqlt_data_1_2024_02', 1, 1706745600000, 1709251200000, 0, 0);
-- Tag 1 is until 1706000000000, tag 5 from 1705000000000: in between both have readings at the same moments.
CREATE TEMPORARY TABLE readings AS
SELECT id AS tagid,
       CASE datatype WHEN 0 THEN (random() * 1e6)::bigint END AS intvalue,
       CASE datatype WHEN 1 THEN random() * 100 END AS floatvalue,
       CASE datatype WHEN 2 THEN (ARRAY['running', 'stopped', ''])[1 + (random() * 2)::int] END AS stringvalue,
       CASE datatype WHEN 3 THEN timestamp '2024-01-01' + random() * interval '40 d' END AS datevalue,
       CASE WHEN random() < 0.9 THEN 192 WHEN random() < 0.5 THEN 0 ELSE 500 END AS dataintegrity,
       1704067200000 + m * 6480000::bigint AS t_stamp
FROM sqlth_te, generate_series(0, 599) m
WHERE (id <> 1 OR m <= 298) AND (id <> 5 OR m >= 144);
INSERT INTO sqlt_data_1_2024_01 SELECT * FROM readings WHERE t_stamp < 1706745600000;
INSERT INTO sqlt_data_1_2024_02 SELECT * FROM readings WHERE t_stamp >= 1706745600000;
DROP TABLE readings;
