-- Ignition's tag historian on PostgreSQL: a table for each driver and month, made when its first reading comes.
CREATE TABLE sqlth_drv (
    id       serial PRIMARY KEY,
    name     varchar(255),
    provider varchar(255)
);
CREATE TABLE sqlth_scinfo (
    id     serial PRIMARY KEY,
    scname varchar(255),
    drvid  integer
);
CREATE TABLE sqlth_te (
    id        serial PRIMARY KEY,
    tagpath   varchar(255),
    scid      integer,
    datatype  integer,
    querymode integer,
    created   bigint,
    retired   bigint
);
CREATE INDEX sqlth_tetagpathndx ON sqlth_te (tagpath);
CREATE TABLE sqlth_partitions (
    pname      varchar(255),
    drvid      integer,
    start_time bigint,
    end_time   bigint,
    blocksize  integer,
    flags      integer
);
CREATE TABLE sqlt_data_1_2024_01 (
    tagid         integer NOT NULL,
    intvalue      bigint,
    floatvalue    double precision,
    stringvalue   varchar(255),
    datevalue     timestamp,
    dataintegrity integer,
    t_stamp       bigint NOT NULL,
    PRIMARY KEY (tagid, t_stamp)
);
CREATE INDEX sqlt_data_1_2024_01t_stampndx ON sqlt_data_1_2024_01 (t_stamp);
CREATE TABLE sqlt_data_1_2024_02 (
    tagid         integer NOT NULL,
    intvalue      bigint,
    floatvalue    double precision,
    stringvalue   varchar(255),
    datevalue     timestamp,
    dataintegrity integer,
    t_stamp       bigint NOT NULL,
    PRIMARY KEY (tagid, t_stamp)
);
CREATE INDEX sqlt_data_1_2024_02t_stampndx ON sqlt_data_1_2024_02 (t_stamp);
