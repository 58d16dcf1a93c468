-- Magento 2's catalogue of products (entity, attribute, value) in PostgreSQL's words: a table for each type, no time.
CREATE TABLE store (
    store_id smallint PRIMARY KEY,
    code     varchar(32) UNIQUE,
    name     varchar(255) NOT NULL
);
CREATE TABLE eav_entity_type (
    entity_type_id   smallint PRIMARY KEY,
    entity_type_code varchar(50) NOT NULL
);
CREATE TABLE eav_attribute (
    attribute_id   smallint PRIMARY KEY,
    entity_type_id smallint NOT NULL REFERENCES eav_entity_type (entity_type_id),
    attribute_code varchar(255) NOT NULL,
    backend_type   varchar(8) DEFAULT 'static' NOT NULL,
    frontend_label varchar(255),
    UNIQUE (entity_type_id, attribute_code)
);
CREATE TABLE catalog_product_entity (
    entity_id        integer PRIMARY KEY,
    attribute_set_id smallint DEFAULT 0 NOT NULL,
    type_id          varchar(32) DEFAULT 'simple' NOT NULL,
    sku              varchar(64) NOT NULL
);
CREATE TABLE catalog_product_entity_decimal (
    value_id     serial PRIMARY KEY,
    attribute_id smallint DEFAULT 0 NOT NULL REFERENCES eav_attribute (attribute_id),
    store_id     smallint DEFAULT 0 NOT NULL REFERENCES store (store_id),
    entity_id    integer DEFAULT 0 NOT NULL REFERENCES catalog_product_entity (entity_id),
    value        numeric(20, 6),
    UNIQUE (entity_id, attribute_id, store_id)
);
CREATE TABLE catalog_product_entity_int (
    value_id     serial PRIMARY KEY,
    attribute_id smallint DEFAULT 0 NOT NULL REFERENCES eav_attribute (attribute_id),
    store_id     smallint DEFAULT 0 NOT NULL REFERENCES store (store_id),
    entity_id    integer DEFAULT 0 NOT NULL REFERENCES catalog_product_entity (entity_id),
    value        integer,
    UNIQUE (entity_id, attribute_id, store_id)
);
CREATE TABLE catalog_product_entity_text (
    value_id     serial PRIMARY KEY,
    attribute_id smallint DEFAULT 0 NOT NULL REFERENCES eav_attribute (attribute_id),
    store_id     smallint DEFAULT 0 NOT NULL REFERENCES store (store_id),
    entity_id    integer DEFAULT 0 NOT NULL REFERENCES catalog_product_entity (entity_id),
    value        text,
    UNIQUE (entity_id, attribute_id, store_id)
);
CREATE TABLE catalog_product_entity_varchar (
    value_id     serial PRIMARY KEY,
    attribute_id smallint DEFAULT 0 NOT NULL REFERENCES eav_attribute (attribute_id),
    store_id     smallint DEFAULT 0 NOT NULL REFERENCES store (store_id),
    entity_id    integer DEFAULT 0 NOT NULL REFERENCES catalog_product_entity (entity_id),
    value        varchar(255),
    UNIQUE (entity_id, attribute_id, store_id)
);
CREATE TABLE catalog_product_entity_datetime (
    value_id     serial PRIMARY KEY,
    attribute_id smallint DEFAULT 0 NOT NULL REFERENCES eav_attribute (attribute_id),
    store_id     smallint DEFAULT 0 NOT NULL REFERENCES store (store_id),
    entity_id    integer DEFAULT 0 NOT NULL REFERENCES catalog_product_entity (entity_id),
    value        timestamp,
    UNIQUE (entity_id, attribute_id, store_id)
);
