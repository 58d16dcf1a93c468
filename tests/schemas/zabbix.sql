-- Zabbix 7 on PostgreSQL: a history table for each type of value, time in seconds and nanoseconds.
CREATE TABLE hosts (
    hostid bigint NOT NULL PRIMARY KEY,
    host   varchar(128) DEFAULT '' NOT NULL,
    status integer DEFAULT 0 NOT NULL,
    name   varchar(128) DEFAULT '' NOT NULL
);
CREATE TABLE items (
    itemid     bigint NOT NULL PRIMARY KEY,
    type       integer DEFAULT 0 NOT NULL,
    hostid     bigint NOT NULL REFERENCES hosts (hostid) ON DELETE CASCADE,
    name       varchar(255) DEFAULT '' NOT NULL,
    key_       varchar(2048) DEFAULT '' NOT NULL,
    delay      varchar(1024) DEFAULT '0' NOT NULL,
    value_type integer DEFAULT 0 NOT NULL,
    units      varchar(255) DEFAULT '' NOT NULL
);
CREATE UNIQUE INDEX items_1 ON items (hostid, key_);
CREATE TABLE history (
    itemid bigint NOT NULL,
    clock  integer DEFAULT 0 NOT NULL,
    value  double precision DEFAULT 0.0000 NOT NULL,
    ns     integer DEFAULT 0 NOT NULL,
    PRIMARY KEY (itemid, clock, ns)
);
CREATE TABLE history_uint (
    itemid bigint NOT NULL,
    clock  integer DEFAULT 0 NOT NULL,
    value  numeric(20) DEFAULT 0 NOT NULL,
    ns     integer DEFAULT 0 NOT NULL,
    PRIMARY KEY (itemid, clock, ns)
);
CREATE TABLE history_str (
    itemid bigint NOT NULL,
    clock  integer DEFAULT 0 NOT NULL,
    value  varchar(255) DEFAULT '' NOT NULL,
    ns     integer DEFAULT 0 NOT NULL,
    PRIMARY KEY (itemid, clock, ns)
);
CREATE TABLE history_log (
    itemid     bigint NOT NULL,
    clock      integer DEFAULT 0 NOT NULL,
    timestamp  integer DEFAULT 0 NOT NULL,
    source     varchar(64) DEFAULT '' NOT NULL,
    severity   integer DEFAULT 0 NOT NULL,
    value      text DEFAULT '' NOT NULL,
    logeventid integer DEFAULT 0 NOT NULL,
    ns         integer DEFAULT 0 NOT NULL,
    PRIMARY KEY (itemid, clock, ns)
);
CREATE TABLE history_text (
    itemid bigint NOT NULL,
    clock  integer DEFAULT 0 NOT NULL,
    value  text DEFAULT '' NOT NULL,
    ns     integer DEFAULT 0 NOT NULL,
    PRIMARY KEY (itemid, clock, ns)
);
CREATE TABLE trends (
    itemid    bigint NOT NULL,
    clock     integer DEFAULT 0 NOT NULL,
    num       integer DEFAULT 0 NOT NULL,
    value_min double precision DEFAULT 0.0000 NOT NULL,
    value_avg double precision DEFAULT 0.0000 NOT NULL,
    value_max double precision DEFAULT 0.0000 NOT NULL,
    PRIMARY KEY (itemid, clock)
);
