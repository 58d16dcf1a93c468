INSERT INTO hosts (hostid, host, name)
VALUES (10084, 'Zabbix server', 'Zabbix server'), (10085, 'db-01.example.org', 'Database'), (10086, 'ép-02', 'Edge');
INSERT INTO items (itemid, hostid, name, key_, value_type)
SELECT hostid * 10 + n, hostid, kinds.name, key_, value_type
FROM hosts, (VALUES (0, 'CPU load', 'system.cpu.load[all,avg1]', 0), (1, 'OS', 'system.uname', 1),
                    (2, 'Log', 'log["/var/log/syslog",error]', 2), (3, 'Free space', 'vfs.fs.size[/,free]', 3),
                    (4, 'Packages', 'system.sw.packages', 4), (5, 'Idle', 'system.cpu.util[,idle]', 0)
            ) AS kinds (n, name, key_, value_type);
INSERT INTO history (itemid, clock, value, ns)
SELECT itemid, 1704067200 + m * 60, random() * 8, CASE WHEN m % 2 = 0 THEN 0 ELSE (random() * 999999999)::int END
FROM items, generate_series(0, 499) m WHERE value_type = 0;
INSERT INTO history_uint (itemid, clock, value, ns)
SELECT itemid, 1704067200 + m * 60, 18446744073709551615 - m, CASE WHEN m % 2 = 0 THEN 0 ELSE m END
FROM items, generate_series(0, 499) m WHERE value_type = 3;
INSERT INTO history_str (itemid, clock, value, ns)
SELECT itemid, 1704067200 + m * 3600, CASE WHEN m % 5 = 0 THEN '' ELSE 'Linux 6.' || m END, 0
FROM items, generate_series(0, 9) m WHERE value_type = 1;
INSERT INTO history_log (itemid, clock, timestamp, source, severity, value, ns)
SELECT itemid, 1704067200 + m * 600, 1704067200 + m * 600, 'kernel', 3, E'error\t' || m || E'\nsecond line', m
FROM items, generate_series(0, 49) m WHERE value_type = 2;
INSERT INTO history_text (itemid, clock, value, ns)
SELECT itemid, 1704067200 + m * 3600, repeat('package-' || m || ' ', 40), 999999999
FROM items, generate_series(0, 9) m WHERE value_type = 4;
