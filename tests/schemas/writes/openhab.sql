-- then: late rows
INSERT INTO item0002 SELECT timestamp '2024-03-30' + m * interval '20 s', 'OPEN' FROM generate_series(0, 200) m;
-- then: values are corrected
UPDATE item0001 SET value = value - 273.15 WHERE time < '2024-03-31 03:00';
UPDATE item0004 SET value = 'none' WHERE value IS NULL;
-- then: readings go, and move
DELETE FROM item0003 WHERE time BETWEEN '2024-03-31 01:00' AND '2024-03-31 02:00';
UPDATE item0005 SET time = time + interval '1 hour' WHERE time < '2024-03-20';
-- later: a new item, its table and its first reading in one transaction
INSERT INTO items (itemname) VALUES ('Attic_Humidity');
CREATE TABLE item0006 (time timestamp NOT NULL, value double precision, PRIMARY KEY (time));
INSERT INTO item0006 SELECT timestamp '2024-03-31' + m * interval '20 s', random() FROM generate_series(0, 300) m;
-- then: and it goes on
INSERT INTO item0006 SELECT timestamp '2024-04-01' + m * interval '20 s', random() FROM generate_series(0, 100) m;
UPDATE item0006 SET value = 0.5 WHERE time < '2024-03-31 00:10';
DELETE FROM item0006 WHERE time BETWEEN '2024-03-31 00:20' AND '2024-03-31 00:30';
-- then: the others as well
INSERT INTO item0001 SELECT timestamp '2024-04-01' + m * interval '20 s', random() FROM generate_series(0, 100) m;
DELETE FROM item0001 WHERE time < '2024-03-31 00:30';
