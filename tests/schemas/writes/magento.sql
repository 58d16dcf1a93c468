-- then: new products
INSERT INTO catalog_product_entity (entity_id, sku) SELECT e, 'SKU-' || e FROM generate_series(401, 450) e;
INSERT INTO catalog_product_entity_varchar (attribute_id, store_id, entity_id, value)
SELECT 73, 0, e, 'Product ' || e FROM generate_series(401, 450) e;
INSERT INTO catalog_product_entity_decimal (attribute_id, store_id, entity_id, value)
SELECT 77, 0, e, e / 100.0 FROM generate_series(401, 450) e;
-- then: new prices
UPDATE catalog_product_entity_decimal SET value = value * 2 WHERE attribute_id = 77 AND entity_id < 100;
UPDATE catalog_product_entity_decimal SET value = NULL WHERE attribute_id = 78 AND entity_id BETWEEN 100 AND 200;
-- then: a store view takes the default again
DELETE FROM catalog_product_entity_varchar WHERE store_id = 2 AND entity_id < 150;
DELETE FROM catalog_product_entity_text WHERE entity_id BETWEEN 300 AND 310;
-- then: values change their scope
UPDATE catalog_product_entity_int SET store_id = 2 WHERE store_id = 1
AND NOT EXISTS (SELECT FROM catalog_product_entity_int o WHERE o.store_id = 2
                AND (o.entity_id, o.attribute_id) = (catalog_product_entity_int.entity_id, catalog_product_entity_int.attribute_id));
-- later: a new attribute
INSERT INTO eav_attribute (attribute_id, entity_type_id, attribute_code, backend_type) VALUES (200, 4, 'color', 'int');
INSERT INTO catalog_product_entity_int (attribute_id, store_id, entity_id, value)
SELECT 200, 0, e, e % 7 FROM generate_series(1, 100) e;
-- then: a product goes
DELETE FROM catalog_product_entity_int WHERE entity_id = 20;
DELETE FROM catalog_product_entity_decimal WHERE entity_id = 20;
DELETE FROM catalog_product_entity_varchar WHERE entity_id = 20;
DELETE FROM catalog_product_entity_text WHERE entity_id = 20;
DELETE FROM catalog_product_entity_datetime WHERE entity_id = 20;
-- then: and special prices come back
UPDATE catalog_product_entity_decimal SET value = 9.99 WHERE attribute_id = 78 AND value IS NULL;
