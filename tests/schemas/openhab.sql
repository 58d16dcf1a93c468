-- openHAB's JDBC persistence on PostgreSQL: a table for each item, named after its number, typed after its kind.
CREATE TABLE items (
    itemid   serial NOT NULL,
    itemname varchar(500) NOT NULL,
    CONSTRAINT items_pkey PRIMARY KEY (itemid)
);
CREATE TABLE item0001 (time timestamp NOT NULL, value double precision, PRIMARY KEY (time));
CREATE TABLE item0002 (time timestamp NOT NULL, value varchar(6), PRIMARY KEY (time));
CREATE TABLE item0003 (time timestamp NOT NULL, value smallint, PRIMARY KEY (time));
CREATE TABLE item0004 (time timestamp NOT NULL, value varchar, PRIMARY KEY (time));
CREATE TABLE item0005 (time timestamp NOT NULL, value timestamp, PRIMARY KEY (time));
