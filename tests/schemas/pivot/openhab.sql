SELECT '[]', time, itemname, value
FROM (SELECT 1 AS itemid, time, value::text FROM item0001 UNION ALL
      SELECT 2, time, value FROM item0002 UNION ALL
      SELECT 3, time, value::text FROM item0003 UNION ALL
      SELECT 4, time, value FROM item0004 UNION ALL
      SELECT 5, time, value::text FROM item0005 UNION ALL
      SELECT 6, time, value::text FROM item0006) readings
JOIN items USING (itemid)
