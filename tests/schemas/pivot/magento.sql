SELECT '[]', concat_ws('|', entity_id, store_id), attribute_code, value
FROM (SELECT attribute_id, store_id, entity_id, value::text FROM catalog_product_entity_datetime UNION ALL
      SELECT attribute_id, store_id, entity_id, value::text FROM catalog_product_entity_decimal UNION ALL
      SELECT attribute_id, store_id, entity_id, value::text FROM catalog_product_entity_int UNION ALL
      SELECT attribute_id, store_id, entity_id, value FROM catalog_product_entity_text UNION ALL
      SELECT attribute_id, store_id, entity_id, value FROM catalog_product_entity_varchar) v
JOIN eav_attribute USING (attribute_id)
