SELECT json_build_array(host), concat_ws('|', timestamptz 'epoch' + clock * interval '1 s', ns), key_, value
FROM (SELECT itemid, clock, ns, value::text FROM history UNION ALL
      SELECT itemid, clock, ns, value::text FROM history_uint UNION ALL
      SELECT itemid, clock, ns, value FROM history_str UNION ALL
      SELECT itemid, clock, ns, value FROM history_log UNION ALL
      SELECT itemid, clock, ns, value FROM history_text) h
JOIN items USING (itemid) JOIN hosts USING (hostid)
