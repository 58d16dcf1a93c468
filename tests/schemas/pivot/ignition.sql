SELECT DISTINCT ON (tagpath, t_stamp)
       '[]', timestamptz 'epoch' + t_stamp * interval '1 ms', tagpath,
       coalesce(intvalue::text, floatvalue::text, stringvalue, datevalue::text)
FROM (SELECT * FROM sqlt_data_1_2024_01 UNION ALL SELECT * FROM sqlt_data_1_2024_02 UNION ALL
      SELECT * FROM sqlt_data_1_2024_03) d JOIN sqlth_te ON id = tagid
WHERE dataintegrity = 192
ORDER BY tagpath, t_stamp, tagid DESC
