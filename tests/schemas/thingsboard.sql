-- ThingsBoard 3.9 on PostgreSQL: telemetry by device, the keys' names in a dictionary, a partition for each month.
CREATE TABLE device (
    id           uuid NOT NULL PRIMARY KEY,
    created_time bigint NOT NULL,
    customer_id  uuid,
    type         varchar(255),
    name         varchar(255),
    label        varchar(255),
    tenant_id    uuid
);
CREATE TABLE key_dictionary (
    key    varchar(255) NOT NULL PRIMARY KEY,
    key_id serial UNIQUE
);
CREATE TABLE ts_kv (
    entity_id uuid NOT NULL,
    key       integer NOT NULL,
    ts        bigint NOT NULL,
    bool_v    boolean,
    str_v     varchar(10000000),
    long_v    bigint,
    dbl_v     double precision,
    json_v    json,
    CONSTRAINT ts_kv_pkey PRIMARY KEY (entity_id, key, ts)
) PARTITION BY RANGE (ts);
CREATE TABLE ts_kv_2024_01 PARTITION OF ts_kv FOR VALUES FROM (1704067200000) TO (1706745600000);
CREATE TABLE ts_kv_2024_02 PARTITION OF ts_kv FOR VALUES FROM (1706745600000) TO (1709251200000);
CREATE TABLE ts_kv_latest (
    entity_id uuid NOT NULL,
    key       integer NOT NULL,
    ts        bigint NOT NULL,
    bool_v    boolean,
    str_v     varchar(10000000),
    long_v    bigint,
    dbl_v     double precision,
    json_v    json,
    version   bigint DEFAULT 0,
    CONSTRAINT ts_kv_latest_pkey PRIMARY KEY (entity_id, key)
);
