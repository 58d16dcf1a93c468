SELECT json_build_array(ship_id), created_time, data_channel_id,
       CASE value_format WHEN 'Decimal' THEN double_v::text WHEN 'Integer' THEN long_v::text WHEN 'String' THEN str_v
           WHEN 'Boolean' THEN CASE WHEN bool_v THEN 't' WHEN NOT bool_v THEN 'f' END END
FROM tenant.tbl_data_timeseries
