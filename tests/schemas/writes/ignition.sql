-- then: late readings, from a store that was forwarded
INSERT INTO sqlt_data_1_2024_01 (tagid, floatvalue, dataintegrity, t_stamp)
SELECT 6, random(), 192, 1704067200000 + m * 6480000::bigint + 1000 FROM generate_series(0, 200) m;
-- then: readings turn out bad, and good
UPDATE sqlt_data_1_2024_01 SET dataintegrity = 0 WHERE tagid = 5 AND t_stamp < 1705500000000;
UPDATE sqlt_data_1_2024_01 SET dataintegrity = 192 WHERE tagid = 2;
-- then: the newer id's readings go, the older one's hold again; and the other way round
DELETE FROM sqlt_data_1_2024_01 WHERE tagid = 5 AND t_stamp BETWEEN 1705500000000 AND 1705700000000;
DELETE FROM sqlt_data_1_2024_01 WHERE tagid = 1 AND t_stamp BETWEEN 1705600000000 AND 1705900000000;
-- then: values are corrected
UPDATE sqlt_data_1_2024_02 SET stringvalue = 'corrected' WHERE tagid = 3 AND stringvalue = '';
-- later: the next month's table, and its first readings in the same transaction, as Ignition does it
CREATE TABLE sqlt_data_1_2024_03 (LIKE sqlt_data_1_2024_02 INCLUDING ALL);
INSERT INTO sqlth_partitions VALUES ('sqlt_data_1_2024_03', 1, 1709251200000, 1711929600000, 0, 0);
INSERT INTO sqlt_data_1_2024_03 (tagid, floatvalue, dataintegrity, t_stamp)
SELECT tagid, random(), 192, 1709251200000 + m * 60000 FROM generate_series(5, 6) tagid, generate_series(0, 100) m;
-- then: more readings in it, a new tag and a new id under an old path
INSERT INTO sqlth_te (tagpath, scid, datatype, querymode, created)
VALUES ('line 3/packer/온도', 1, 1, 0, 1709251200000), ('line 2/oven/temperature', 1, 1, 0, 1709251200000);
INSERT INTO sqlt_data_1_2024_03 (tagid, floatvalue, dataintegrity, t_stamp)
SELECT tagid, random(), 192, 1709251200000 + m * 60000 FROM generate_series(7, 8) tagid, generate_series(50, 150) m;
-- then: and they change
UPDATE sqlt_data_1_2024_03 SET floatvalue = -1 WHERE tagid = 7 AND t_stamp < 1709256000000;
DELETE FROM sqlt_data_1_2024_03 WHERE tagid = 8 AND t_stamp < 1709255000000;
