-- then: late rows from a proxy that was away
INSERT INTO history (itemid, clock, value, ns)
SELECT itemid, 1704060000 + m * 60, random(), 5 FROM items, generate_series(0, 100) m WHERE value_type = 0;
-- then: values are corrected
UPDATE history_uint SET value = 1 WHERE clock < 1704070000;
-- then: the housekeeper
DELETE FROM history WHERE clock < 1704063000;
DELETE FROM history_log WHERE clock < 1704070000;
-- then: readings move to another moment
UPDATE history_str SET clock = clock + 30, ns = ns + 1 WHERE itemid = 100841;
-- later: a new item of a new host
INSERT INTO hosts (hostid, host, name) VALUES (10087, 'new-host', 'New');
INSERT INTO items (itemid, hostid, name, key_, value_type) VALUES (100870, 10087, 'Uptime', 'system.uptime', 3);
INSERT INTO history_uint (itemid, clock, value, ns)
SELECT 100870, 1704100000 + m, m, 0 FROM generate_series(0, 99) m;
-- then: a new item of a host that is there
INSERT INTO items (itemid, hostid, name, key_, value_type) VALUES (100849, 10084, 'Ping', 'icmpping', 0);
INSERT INTO history (itemid, clock, value, ns) SELECT 100849, 1704067200 + m * 60, 1, 0 FROM generate_series(0, 99) m;
-- then: an item and its history go
DELETE FROM history WHERE itemid = 100855;
