SELECT json_build_array("ShipID"), "TimeStamp", "DataChannelID",
       coalesce("Decimal"::text, "Integer"::text, CASE WHEN "Boolean" THEN 't' WHEN NOT "Boolean" THEN 'f' END, "String")
FROM "TimeSeriesData"
