-- The reference: readings of ships, one table for all of them.
CREATE SCHEMA tenant;
CREATE TABLE tenant.tbl_data_timeseries (
    id                  bigserial,
    ship_id             text NOT NULL,
    data_channel_id     text NOT NULL,
    created_time        timestamp NOT NULL,
    server_created_time timestamp,
    bool_v              boolean,
    str_v               text,
    long_v              bigint,
    double_v            double precision,
    value_format        varchar(50),
    PRIMARY KEY (ship_id, data_channel_id, created_time)
);
CREATE INDEX ON tenant.tbl_data_timeseries (created_time DESC);
