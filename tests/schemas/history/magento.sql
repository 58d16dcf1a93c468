INSERT INTO store VALUES (0, 'admin', 'Admin'), (1, 'default', 'Default'), (2, 'kr', '한국');
INSERT INTO eav_entity_type VALUES (3, 'catalog_category'), (4, 'catalog_product');
INSERT INTO eav_attribute (attribute_id, entity_type_id, attribute_code, backend_type)
VALUES (41, 3, 'display_mode', 'varchar'), (73, 4, 'name', 'varchar'), (75, 4, 'description', 'text'), (77, 4, 'price', 'decimal'),
       (78, 4, 'special_price', 'decimal'), (79, 4, 'special_from_date', 'datetime'), (97, 4, 'status', 'int'),
       (99, 4, 'visibility', 'int'), (124, 4, 'url_key', 'varchar');
INSERT INTO catalog_product_entity (entity_id, sku) SELECT e, 'SKU-' || e FROM generate_series(1, 400) e;
INSERT INTO catalog_product_entity_decimal (attribute_id, store_id, entity_id, value)
SELECT a, s, e, CASE WHEN a = 77 OR random() < 0.3 THEN round((random() * 100)::numeric, 6) END
FROM unnest(ARRAY[77, 78]) a, generate_series(0, 2) s, generate_series(1, 400) e WHERE s = 0 OR random() < 0.2;
INSERT INTO catalog_product_entity_int (attribute_id, store_id, entity_id, value)
SELECT a, s, e, 1 + (random() * 3)::int
FROM unnest(ARRAY[97, 99]) a, generate_series(0, 2) s, generate_series(1, 400) e WHERE s = 0 OR random() < 0.2;
INSERT INTO catalog_product_entity_varchar (attribute_id, store_id, entity_id, value)
SELECT a, s, e, CASE s WHEN 2 THEN '상품 ' ELSE 'Product ' END || e
FROM unnest(ARRAY[73, 124]) a, generate_series(0, 2) s, generate_series(1, 400) e WHERE s = 0 OR random() < 0.4;
INSERT INTO catalog_product_entity_text (attribute_id, store_id, entity_id, value)
SELECT 75, 0, e, CASE WHEN e % 10 = 0 THEN '' ELSE repeat(E'<p>Long & good</p>\n', e % 50) END FROM generate_series(1, 400) e;
INSERT INTO catalog_product_entity_datetime (attribute_id, store_id, entity_id, value)
SELECT 79, 0, e, timestamp '2024-01-01' + e * interval '1 h' FROM generate_series(1, 400, 3) e;
