-- then: late rows, each in a moment of its own and in moments that are there
INSERT INTO tenant.tbl_data_timeseries (ship_id, data_channel_id, created_time, double_v, value_format)
SELECT 'ship-' || s, '/hs/late//Decimal', timestamp '2023-12-31 23:50' + m * interval '7.5 s', random(), 'Decimal'
FROM generate_series(1, 3) s, generate_series(0, 199) m;
-- then: values are corrected
UPDATE tenant.tbl_data_timeseries SET double_v = double_v + 1
WHERE data_channel_id = '/hs/me01//Decimal' AND created_time < '2024-01-01 00:10';
-- then: readings go
DELETE FROM tenant.tbl_data_timeseries WHERE data_channel_id = '/hs/me02//Integer' AND ship_id = 'ship-2';
-- then: readings move to another moment, another channel, another ship
UPDATE tenant.tbl_data_timeseries SET created_time = created_time + interval '1 day'
WHERE data_channel_id = '/hs/me03//String' AND ship_id = 'ship-1';
UPDATE tenant.tbl_data_timeseries SET data_channel_id = '/hs/moved//Boolean'
WHERE data_channel_id = '/hs/me04//Boolean' AND ship_id = 'ship-3' AND created_time < '2024-01-01 00:20';
UPDATE tenant.tbl_data_timeseries SET ship_id = 'ship-4'
WHERE data_channel_id = '/hs/me01//Integer' AND ship_id = 'ship-1';
-- later: a new channel, a new ship
INSERT INTO tenant.tbl_data_timeseries (ship_id, data_channel_id, created_time, str_v, value_format)
SELECT 'ship-' || s, '/hs/new//' || k, timestamp '2024-01-01' + m * interval '15 s', 'n' || m, 'String'
FROM generate_series(1, 5) s, generate_series(1, 3) k, generate_series(190, 230) m;
-- then: values are corrected and cleared
UPDATE tenant.tbl_data_timeseries SET long_v = NULL
WHERE data_channel_id = '/hs/me03//Integer' AND created_time > '2024-01-01 00:40';
-- then: a whole moment goes
DELETE FROM tenant.tbl_data_timeseries WHERE created_time = '2024-01-01 00:05';
