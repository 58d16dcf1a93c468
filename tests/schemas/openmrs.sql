-- OpenMRS 2 on PostgreSQL: observations of patients; nothing is deleted there, it is voided.
CREATE TABLE concept (
    concept_id serial PRIMARY KEY,
    retired    boolean DEFAULT false NOT NULL,
    uuid       char(38) NOT NULL UNIQUE
);
CREATE TABLE concept_name (
    concept_name_id   serial PRIMARY KEY,
    concept_id        integer REFERENCES concept (concept_id),
    name              varchar(255) NOT NULL,
    locale            varchar(50) NOT NULL,
    locale_preferred  boolean DEFAULT false,
    concept_name_type varchar(50),
    voided            boolean DEFAULT false NOT NULL,
    uuid              char(38) NOT NULL UNIQUE
);
CREATE TABLE person (
    person_id serial PRIMARY KEY,
    gender    varchar(50) DEFAULT '',
    birthdate date,
    voided    boolean DEFAULT false NOT NULL,
    uuid      char(38) NOT NULL UNIQUE
);
CREATE TABLE obs (
    obs_id              serial PRIMARY KEY,
    person_id           integer NOT NULL REFERENCES person (person_id),
    concept_id          integer DEFAULT 0 NOT NULL REFERENCES concept (concept_id),
    encounter_id        integer,
    order_id            integer,
    obs_datetime        timestamp NOT NULL,
    location_id         integer,
    obs_group_id        integer REFERENCES obs (obs_id),
    accession_number    varchar(255),
    value_group_id      integer,
    value_coded         integer REFERENCES concept (concept_id),
    value_coded_name_id integer,
    value_drug          integer,
    value_datetime      timestamp,
    value_numeric       double precision,
    value_modifier      varchar(2),
    value_text          text,
    value_complex       varchar(1000),
    comments            varchar(255),
    creator             integer DEFAULT 0 NOT NULL,
    date_created        timestamp NOT NULL,
    voided              boolean DEFAULT false NOT NULL,
    voided_by           integer,
    date_voided         timestamp,
    void_reason         varchar(255),
    uuid                char(38) NOT NULL UNIQUE,
    previous_version    integer REFERENCES obs (obs_id),
    status              varchar(16) DEFAULT 'FINAL' NOT NULL
);
CREATE INDEX obs_datetime_idx ON obs (obs_datetime);
