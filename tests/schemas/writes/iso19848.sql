-- then: late rows
INSERT INTO "TimeSeriesData" ("ShipID", "DataChannelID", "TimeStamp", "Decimal")
SELECT 'IMO900000' || s, '/dnv-v2/vis-3-4a/411.1/C101.31-' || c || '/meta/qty-temperature/cnt-exhaust.gas/pos-outlet/detail-late',
       timestamptz '2023-12-31 23:59:50+00' + m * interval '10 s', random()
FROM generate_series(1, 2) s, generate_series(1, 3) c, generate_series(0, 100) m;
-- then: values are corrected, readings go, readings move
UPDATE "TimeSeriesData" SET "Decimal" = "Decimal" - 273.15 WHERE "DataChannelID" LIKE '%-1/%' AND "Decimal" IS NOT NULL;
DELETE FROM "TimeSeriesData" WHERE "DataChannelID" LIKE '%-2/%' AND "ShipID" = 'IMO9000002';
UPDATE "TimeSeriesData" SET "TimeStamp" = "TimeStamp" + interval '5 s' WHERE "DataChannelID" LIKE '%-3/%/qty-state/%';
-- later: new channels, that differ from others only at their ends
INSERT INTO "TimeSeriesData" ("ShipID", "DataChannelID", "TimeStamp", "Decimal")
SELECT 'IMO900000' || s,
       '/dnv-v2/vis-3-4a/411.1/C101.31-1/meta/qty-temperature/cnt-exhaust.gas/pos-inlet/detail-cylinder.' || c,
       timestamptz '2024-01-01 01:00+00' + m * interval '30 s', c
FROM generate_series(1, 3) s, generate_series(1, 10) c, generate_series(0, 40) m;
-- then: and they change
UPDATE "TimeSeriesData" SET "Decimal" = -0.0 WHERE "DataChannelID" LIKE '%cylinder.3';
DELETE FROM "TimeSeriesData" WHERE "DataChannelID" LIKE '%cylinder.4' AND "TimeStamp" < '2024-01-01 01:10+00';
