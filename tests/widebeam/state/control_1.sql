-- The control schema as version 1 made it, as far as it has changed since.
CREATE SCHEMA IF NOT EXISTS widebeam;
CREATE TABLE IF NOT EXISTS widebeam.connectors (
    connector       text PRIMARY KEY,
    created_at      timestamptz NOT NULL DEFAULT now(),
    transport       text NOT NULL CHECK (transport IN ('kafka', 'direct')),
    partitions      int NOT NULL CHECK (partitions > 0),
    topic           text,
    topic_id        text,
    slot            text NOT NULL,
    publication     text NOT NULL,
    system_id       text NOT NULL,
    timeline        int NOT NULL,
    cutoff          pg_lsn,
    cutoff_snapshot pg_snapshot,
    gate_lsn        pg_lsn,
    column_types    jsonb NOT NULL,
    source_oid      oid NOT NULL,
    planned_at      timestamptz,
    generation      bigint NOT NULL DEFAULT 0,
    acknowledged    pg_lsn,
    received        pg_lsn,
    received_at     timestamptz,
    records         bigint NOT NULL DEFAULT 0,
    changes         bigint NOT NULL DEFAULT 0,
    converged_at    timestamptz,
    halt_cause      text,
    halt_what       text,
    halt_remedy     text,
    halted_at       timestamptz,
    settings        jsonb NOT NULL
);
CREATE TABLE IF NOT EXISTS widebeam.tables (
    connector   text NOT NULL REFERENCES widebeam.connectors ON DELETE CASCADE,
    entity      text NOT NULL,
    part        int NOT NULL,
    schema_name text NOT NULL,
    table_name  text NOT NULL,
    view_name   text NOT NULL,
    PRIMARY KEY (connector, entity, part),
    UNIQUE (schema_name, table_name)
);
CREATE TABLE IF NOT EXISTS widebeam.columns (
    connector   text NOT NULL REFERENCES widebeam.connectors ON DELETE CASCADE,
    entity      text NOT NULL,
    key         text NOT NULL,
    ordinal     int NOT NULL,
    part        int NOT NULL,
    column_name text NOT NULL,
    column_type text NOT NULL,
    source      text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (connector, entity, key),
    UNIQUE (connector, entity, ordinal),
    UNIQUE (connector, entity, column_name),
    FOREIGN KEY (connector, entity, part) REFERENCES widebeam.tables ON DELETE CASCADE
);
CREATE TABLE IF NOT EXISTS widebeam.chunks (
    connector   text NOT NULL REFERENCES widebeam.connectors ON DELETE CASCADE,
    chunk       bigint NOT NULL,
    lower_bound text,
    upper_bound text,
    estimated   bigint NOT NULL,
    state       text NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'merged', 'void', 'failed')),
    attempts    int NOT NULL DEFAULT 0,
    error       text,
    retry_at    timestamptz,
    rows        bigint,
    cells       bigint,
    seconds     double precision,
    merged_at   timestamptz,
    PRIMARY KEY (connector, chunk)
);
CREATE INDEX IF NOT EXISTS chunks_open ON widebeam.chunks (connector, chunk) WHERE state IN ('planned', 'failed');
CREATE TABLE IF NOT EXISTS widebeam.progress (
    connector     text NOT NULL REFERENCES widebeam.connectors ON DELETE CASCADE,
    partition     int NOT NULL,
    epoch         bigint NOT NULL DEFAULT 0,
    next_offset   bigint NOT NULL DEFAULT 0,
    high          pg_lsn NOT NULL DEFAULT '0/0',
    generation    bigint NOT NULL DEFAULT 0,
    next_sequence bigint NOT NULL DEFAULT 0,
    broken        boolean NOT NULL DEFAULT false,
    broken_at     timestamptz,
    barrier       pg_lsn NOT NULL DEFAULT '0/0',
    commit_time   timestamptz,
    applied_at    timestamptz,
    rows          bigint NOT NULL DEFAULT 0,
    cells         bigint NOT NULL DEFAULT 0,
    skipped       bigint NOT NULL DEFAULT 0,
    latency       bigint[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (connector, partition)
);
