INSERT INTO items (itemname)
VALUES ('LivingRoom_Temperature'), ('FrontDoor_Contact'), ('Blind_Position'), ('Radio_Station'), ('Sun_Rise');
INSERT INTO item0001 SELECT timestamp '2024-03-31' + m * interval '20 s', random() * 30 FROM generate_series(0, 1999) m;
INSERT INTO item0002
SELECT timestamp '2024-03-31' + m * interval '60 s', (ARRAY['OPEN', 'CLOSED'])[1 + (random() > 0.5)::int]
FROM generate_series(0, 499) m;
INSERT INTO item0003 SELECT timestamp '2024-03-31' + m * interval '30 s', (random() * 100)::smallint FROM generate_series(0, 999) m;
INSERT INTO item0004
SELECT timestamp '2024-03-31' + m * interval '300.125 s', CASE WHEN m % 7 <> 0 THEN 'Radio ' || m || ' 라디오' END
FROM generate_series(0, 99) m;
INSERT INTO item0005 SELECT timestamp '2024-03-31' + m * interval '1 d', timestamp '2024-03-31 06:47:11' + m * interval '2 min'
FROM generate_series(-50, 50) m;
