-- The control schema: all durable state of a connector, in the target database, so that it changes in the same
-- transaction as the wide rows. Run by widebeam/state/control.py, one at a time, at first and whenever it has changed:
-- every statement may find what it makes. A new column of a table stands in its CREATE TABLE, and below it, for
-- schemas that are there: ALTER TABLE ... ADD COLUMN IF NOT EXISTS (tests/widebeam/state/test_control.py compares the two).
CREATE SCHEMA IF NOT EXISTS widebeam;

-- Which script made the schema last. One row; none in schemas from before.
CREATE TABLE IF NOT EXISTS widebeam.version (
    version int PRIMARY KEY,              -- a program that knows a lower one only must not work with it
    script  text NOT NULL                 -- its SHA-256: with another one, it is run again
);
-- Each table here has a key: else a publication FOR ALL TABLES in the target would refuse our updates and deletes.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'widebeam.version'::regclass AND contype = 'p') THEN
        ALTER TABLE widebeam.version ADD PRIMARY KEY (version);
    END IF;
END $$;

-- One row a connector.
CREATE TABLE IF NOT EXISTS widebeam.connectors (
    connector       text PRIMARY KEY,
    created_at      timestamptz NOT NULL DEFAULT now(),
    transport       text NOT NULL CHECK (transport IN ('kafka', 'direct')),
    partitions      int NOT NULL CHECK (partitions > 0),
    topic           text,                 -- NULL on the direct transport
    topic_id        text,                 -- Kafka's id of the topic: another one means that it was recreated
    slot            text NOT NULL,
    publication     text NOT NULL,
    -- The incarnation: which history positions belong to.
    system_id       text NOT NULL,
    timeline        int NOT NULL,
    -- The cutoff: commits below it come from the backfill, from it on from the stream. NULL until the slot is recorded.
    cutoff          pg_lsn,
    cutoff_snapshot pg_snapshot,          -- SC: what the slot's exported snapshot sees
    gate_lsn        pg_lsn,               -- P: every snapshot of the primary after it is safe; NULL until gate G passed
    planned_at      timestamptz,          -- the ledger is complete
    generation      bigint NOT NULL DEFAULT 0,   -- runs of capture so far
    acknowledged    pg_lsn,               -- the flush position that capture last told the slot (written before it is told)
    received        pg_lsn,               -- how far capture has read, for status
    received_at     timestamptz,
    waiting_since   timestamptz,          -- commit time of something that was read then and was not durable in the log
    advanced_at     timestamptz,          -- when `acknowledged` or `records` last grew
    ignored_messages bigint NOT NULL DEFAULT 0,  -- with our prefix in the WAL, and no barriers: somebody else's
    records         bigint NOT NULL DEFAULT 0,   -- published by capture, all generations
    changes         bigint NOT NULL DEFAULT 0,   -- narrow rows in them
    converged_at    timestamptz,
    log_ends        jsonb NOT NULL DEFAULT '{}', -- {"partition": the offset behind the last record that was confirmed}
    halt_cause      text,
    halt_what       text,
    halt_remedy     text,
    halted_at       timestamptz,
    settings        jsonb NOT NULL        -- the mapping as it was when last prepared
);

ALTER TABLE widebeam.connectors ADD COLUMN IF NOT EXISTS log_ends jsonb NOT NULL DEFAULT '{}';
ALTER TABLE widebeam.connectors ADD COLUMN IF NOT EXISTS waiting_since timestamptz;
ALTER TABLE widebeam.connectors ADD COLUMN IF NOT EXISTS advanced_at timestamptz;
ALTER TABLE widebeam.connectors ADD COLUMN IF NOT EXISTS ignored_messages bigint NOT NULL DEFAULT 0;

-- The narrow tables. A table that joins while the connector runs has its row, and its chunks, before it is published.
CREATE TABLE IF NOT EXISTS widebeam.sources (
    connector   text NOT NULL REFERENCES widebeam.connectors ON DELETE CASCADE,
    schema_name text NOT NULL,
    table_name  text NOT NULL,
    oid         oid NOT NULL,             -- the table itself: another one of its name is another table
    types       jsonb NOT NULL,           -- {"column": "type as format_type writes it"} of its mapped columns
    joined_at   timestamptz NOT NULL DEFAULT now(),
    -- From when on a snapshot may read its chunks: 0/0 = it was there before the slot, gate G of the connector holds;
    -- NULL = it is not published yet; else the source's WAL position after it was published.
    gate_lsn    pg_lsn,
    PRIMARY KEY (connector, schema_name, table_name)
);
-- What the source's catalog said of it (cdc/source/facts.py): whose change makes no event, so that somebody has to look.
ALTER TABLE widebeam.sources ADD COLUMN IF NOT EXISTS facts jsonb;
-- The last TRUNCATE of the table that was applied: it explains partitions that are empty since facts from before it.
ALTER TABLE widebeam.sources ADD COLUMN IF NOT EXISTS truncated_at pg_lsn;
-- The one text that stands for both parts of the name (cdc/source/table_name.py), as the other tables have it.
ALTER TABLE widebeam.sources ADD COLUMN IF NOT EXISTS name text GENERATED ALWAYS AS (
    CASE WHEN strpos(schema_name, '.') > 0 OR left(schema_name, 1) = '"'
        THEN '"' || replace(schema_name, '"', '""') || '"' ELSE schema_name END
    || '.' ||
    CASE WHEN left(table_name, 1) = '"' THEN '"' || replace(table_name, '"', '""') || '"' ELSE table_name END
) STORED;

-- Parts of its keys are told apart whatever is in them (Rule.joined); false for tables from before that.
ALTER TABLE widebeam.sources ADD COLUMN IF NOT EXISTS escapes boolean NOT NULL DEFAULT false;
-- What the wide time column is called, where the mapping's `time` is another one than at first; the same in all rows.
ALTER TABLE widebeam.sources ADD COLUMN IF NOT EXISTS wide_time text;
-- Numbers out of texts (`numbers`) are written as the server prints them, in text columns, too; false for tables from
-- before that, where a key's first reading decides about its column.
ALTER TABLE widebeam.sources ADD COLUMN IF NOT EXISTS canonical boolean NOT NULL DEFAULT false;

-- What was seen in the source's catalog that does not stop the connector, and that somebody has to know of: a
-- partition that is gone, a table whose rows were written anew.
CREATE TABLE IF NOT EXISTS widebeam.notices (
    connector text NOT NULL REFERENCES widebeam.connectors ON DELETE CASCADE,
    source    text NOT NULL,              -- the narrow table, schema.name
    kind      text NOT NULL,              -- gone: its wide rows stay; doubt: until `verify` finds no difference;
                                          -- filling: until the chunks of an attached partition are planned
    subject   text NOT NULL,              -- the partition, or the table
    what      text NOT NULL,
    at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (connector, source, kind, subject)
);

-- Ranges of time of which the narrow tables have no row any more (a partition was dropped), and that somebody has said
-- may stay in the wide tables as they were then: `widebeam verify --acknowledge`.
CREATE TABLE IF NOT EXISTS widebeam.acknowledged (
    connector text NOT NULL REFERENCES widebeam.connectors ON DELETE CASCADE,
    lower     text NOT NULL,              -- the first and the last moment, as the wide tables print them
    upper     text NOT NULL,
    cells     bigint NOT NULL,
    total     numeric NOT NULL,           -- the sum of the cells' hashes (widebeam/verify)
    by_role   text NOT NULL DEFAULT current_user,
    at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (connector, lower)
);

-- Signs of life (widebeam/state/signs.py): each process writes one every ten seconds, and takes it away when it ends in
-- order. For `status` and `list`.
CREATE TABLE IF NOT EXISTS widebeam.signs (
    connector  text NOT NULL REFERENCES widebeam.connectors ON DELETE CASCADE,
    host       text NOT NULL,
    part       text NOT NULL,             -- run, capture, sink 2, ...
    pid        int NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now(),
    how        text NOT NULL,             -- starting, at work, or hung
    troubles   jsonb NOT NULL DEFAULT '[]', -- [["where", "what it fails at", for how many seconds]]
    PRIMARY KEY (connector, host, part, pid)
);

-- Turns (sink/wide/ddl_lock.py): never a row in them. Whoever may lock these is one of us, which an advisory lock cannot
-- say: anybody who may connect can hold one.
CREATE TABLE IF NOT EXISTS widebeam.turn_columns (id int PRIMARY KEY);
CREATE TABLE IF NOT EXISTS widebeam.turn_types (id int PRIMARY KEY);

-- Claims (sink/state/claim.py): what a session of ours is alone with, until it ends.
CREATE TABLE IF NOT EXISTS widebeam.claims (
    connector text NOT NULL,              -- not of widebeam.connectors: its set-up is claimed before
    what      text NOT NULL,              -- prepare, join, chunk 7
    pid       int NOT NULL,               -- which session, together with its role and its begin
    role      oid NOT NULL,
    began     timestamptz NOT NULL,
    PRIMARY KEY (connector, what)
);

-- Parts of `widebeam run` that died in the present run on a host, or in the last one: for `status`.
CREATE TABLE IF NOT EXISTS widebeam.restarts (
    connector text NOT NULL REFERENCES widebeam.connectors ON DELETE CASCADE,
    host      text NOT NULL,
    part      text NOT NULL,
    times     int NOT NULL,               -- in this run
    cause     text NOT NULL,              -- of the last time
    at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (connector, host, part)
);

-- Version 1 had a single narrow table, written down in the connector's row.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_attribute
               WHERE attrelid = 'widebeam.connectors'::regclass AND attname = 'source_oid' AND NOT attisdropped) THEN
        INSERT INTO widebeam.sources (connector, schema_name, table_name, oid, types, joined_at, gate_lsn)
        SELECT connector, split_part(settings ->> 'table', '.', 1),
            substr(settings ->> 'table', strpos(settings ->> 'table', '.') + 1), source_oid, column_types, created_at,
            '0/0'
        FROM widebeam.connectors;
        UPDATE widebeam.connectors SET settings = settings || jsonb_build_object(
            'time', jsonb_build_array(settings -> 'time'), 'key', jsonb_build_array(settings -> 'key'));
        ALTER TABLE widebeam.connectors DROP COLUMN source_oid, DROP COLUMN column_types;
    END IF;
END $$;

-- The dictionary's entries as they were last read. One that was known is never forgotten.
CREATE TABLE IF NOT EXISTS widebeam.dictionary (
    connector text NOT NULL REFERENCES widebeam.connectors ON DELETE CASCADE,
    id        text NOT NULL,
    names     text[] NOT NULL,            -- the values of the virtual columns
    seen_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (connector, id)
);

-- The wide tables: each holds some of the columns of one entity (or of all, entity = '[]').
CREATE TABLE IF NOT EXISTS widebeam.tables (
    connector   text NOT NULL REFERENCES widebeam.connectors ON DELETE CASCADE,
    entity      text NOT NULL,            -- JSON array of the entity's values as text; '[]' when one table holds all
    part        int NOT NULL,             -- 1, 2, 3: the columns are split by bytes
    schema_name text NOT NULL,
    table_name  text NOT NULL,
    view_name   text NOT NULL,            -- the view that joins the parts: what readers read
    group_name  text NOT NULL DEFAULT '', -- the group of keys that it is for; empty: those that no group takes
    group_view  text,                     -- the view that joins the parts of the group
    PRIMARY KEY (connector, entity, part),
    UNIQUE (schema_name, table_name)
);
-- Each of its rows has one in the first part of each view that shows it, so that the views need no UNION of keys. False
-- for tables from before that, until they are brought along (snapshot/bases.py).
ALTER TABLE widebeam.tables ADD COLUMN IF NOT EXISTS in_base boolean NOT NULL DEFAULT false;
ALTER TABLE widebeam.tables ALTER COLUMN in_base SET DEFAULT true;
ALTER TABLE widebeam.tables ADD COLUMN IF NOT EXISTS group_name text NOT NULL DEFAULT '';
ALTER TABLE widebeam.tables ADD COLUMN IF NOT EXISTS group_view text;

-- The registry of columns: which key of which entity is which column.
CREATE TABLE IF NOT EXISTS widebeam.columns (
    connector   text NOT NULL REFERENCES widebeam.connectors ON DELETE CASCADE,
    entity      text NOT NULL,
    key         text NOT NULL,
    ordinal     int NOT NULL,             -- 1, 2, 3 within the entity, never reused: the view's order
    part        int NOT NULL,
    column_name text NOT NULL,
    column_type text NOT NULL,
    source      text NOT NULL,            -- the narrow value column that it is filled from
    widened     int NOT NULL DEFAULT 0,   -- how often its type was changed, for readings that did not fit it
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (connector, entity, key),
    UNIQUE (connector, entity, ordinal),
    UNIQUE (connector, entity, column_name),
    FOREIGN KEY (connector, entity, part) REFERENCES widebeam.tables ON DELETE CASCADE
);

ALTER TABLE widebeam.columns ADD COLUMN IF NOT EXISTS widened int NOT NULL DEFAULT 0;
CREATE INDEX IF NOT EXISTS columns_widened ON widebeam.columns (connector) INCLUDE (widened) WHERE widened > 0;

-- Which source rows a column is filled from, where rows of several tables (or raw keys) could meet in its cells although
-- `several` is "refuse" (sink/mapping/origin.py).
CREATE TABLE IF NOT EXISTS widebeam.origins (
    connector   text NOT NULL REFERENCES widebeam.connectors ON DELETE CASCADE,
    entity      text NOT NULL,            -- as in widebeam.columns
    key         text NOT NULL,
    origin      text NOT NULL,            -- the first that was met: a narrow table, and what tells raw keys apart
    shared      boolean NOT NULL DEFAULT false, -- there are others: its cells are read again from the source
    PRIMARY KEY (connector, entity, key)
);
CREATE INDEX IF NOT EXISTS origins_shared ON widebeam.origins (connector) WHERE shared;

-- The ledger: chunks of the backfill and their states. Ranges are half-open; those of a table cover all of its axis,
-- which is its first time column (without time: its first entity or key column).
CREATE TABLE IF NOT EXISTS widebeam.chunks (
    connector   text NOT NULL REFERENCES widebeam.connectors ON DELETE CASCADE,
    chunk       bigint NOT NULL,
    source      text NOT NULL,            -- the narrow table, schema.name
    lower_bound text,                     -- NULL: open; else a value of the axis as text
    upper_bound text,
    estimated   bigint NOT NULL,          -- rows, by the planner of the source
    state       text NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'merged', 'void', 'failed')),
    attempts    int NOT NULL DEFAULT 0,
    error       text,
    retry_at    timestamptz,              -- not to be tried before
    rows        bigint,                   -- narrow rows read
    cells       bigint,                   -- cells that were not NULL
    seconds     double precision,
    merged_at   timestamptz,
    PRIMARY KEY (connector, chunk)
);
-- Not empty: the chunk does not only fill, but is written over what is there. It reads from here: a partition that was
-- attached with rows in it, or the narrow table itself.
ALTER TABLE widebeam.chunks ADD COLUMN IF NOT EXISTS reads text NOT NULL DEFAULT '';
-- Version 1 had a single narrow table.
ALTER TABLE widebeam.chunks ADD COLUMN IF NOT EXISTS source text;
UPDATE widebeam.chunks c SET source = s.name
FROM widebeam.sources s WHERE s.connector = c.connector AND c.source IS NULL;
ALTER TABLE widebeam.chunks ALTER COLUMN source SET NOT NULL;
CREATE INDEX IF NOT EXISTS chunks_open ON widebeam.chunks (connector, chunk) WHERE state IN ('planned', 'failed');

-- Cells that the stream cleared in a chunk that is not merged yet: the chunk must not bring them back.
CREATE TABLE IF NOT EXISTS widebeam.tombstones (
    connector   text NOT NULL REFERENCES widebeam.connectors ON DELETE CASCADE,
    chunk       bigint NOT NULL,
    entity      text NOT NULL,            -- JSON array, always the real entity
    "time"      text NOT NULL,            -- JSON array of the wide key's time values
    key         text NOT NULL,
    PRIMARY KEY (connector, chunk, entity, "time", key)
);

-- How far each partition is applied. One row a partition, made when the connector is.
CREATE TABLE IF NOT EXISTS widebeam.progress (
    connector     text NOT NULL REFERENCES widebeam.connectors ON DELETE CASCADE,
    partition     int NOT NULL,
    epoch         bigint NOT NULL DEFAULT 0,      -- raised by a replay: fences older owners
    next_offset   bigint NOT NULL DEFAULT 0,
    high          pg_lsn NOT NULL DEFAULT '0/0',  -- the highest position seen: below it is a redelivery
    generation    bigint NOT NULL DEFAULT 0,
    next_sequence bigint NOT NULL DEFAULT 0,
    broken        boolean NOT NULL DEFAULT false, -- the generation has a gap: nothing more of it is taken
    broken_at     timestamptz,
    barrier       pg_lsn NOT NULL DEFAULT '0/0',  -- the position of the last barrier passed
    commit_time   timestamptz,                    -- source commit time of the last record applied
    applied_at    timestamptz,
    rows          bigint NOT NULL DEFAULT 0,      -- narrow rows applied
    cells         bigint NOT NULL DEFAULT 0,      -- cells set or cleared
    skipped       bigint NOT NULL DEFAULT 0,      -- records dropped by the skip rule or the generation rule
    latency       bigint[] NOT NULL DEFAULT '{}', -- histogram of commit -> visible; bounds in sink/state/latency.py
    -- Rows of the last minute in which there were any: how many of them went into the quarantine is told from its `at`.
    recent_rows   bigint NOT NULL DEFAULT 0,
    recent_since  timestamptz,
    -- No replay from below it: something was mended there that no record of the log brings (a gap, rows without events).
    floor         bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (connector, partition)
);
ALTER TABLE widebeam.progress ADD COLUMN IF NOT EXISTS floor bigint NOT NULL DEFAULT 0;
ALTER TABLE widebeam.progress ADD COLUMN IF NOT EXISTS recent_rows bigint NOT NULL DEFAULT 0;
ALTER TABLE widebeam.progress ADD COLUMN IF NOT EXISTS recent_since timestamptz;

-- Where each generation began and broke in each partition, so that a replay from the middle knows.
CREATE TABLE IF NOT EXISTS widebeam.generations (
    connector    text NOT NULL REFERENCES widebeam.connectors ON DELETE CASCADE,
    partition    int NOT NULL,
    generation   bigint NOT NULL,
    began_offset bigint NOT NULL,
    broke_offset bigint,
    high         pg_lsn NOT NULL DEFAULT '0/0', -- the highest position that had been applied when it began
    PRIMARY KEY (connector, partition, generation)
);
ALTER TABLE widebeam.generations ADD COLUMN IF NOT EXISTS high pg_lsn NOT NULL DEFAULT '0/0';

-- Readings that cannot be placed, kept whole until somebody mends the mapping.
CREATE TABLE IF NOT EXISTS widebeam.quarantine (
    connector   text NOT NULL REFERENCES widebeam.connectors ON DELETE CASCADE,
    id          bigint GENERATED ALWAYS AS IDENTITY,
    at          timestamptz NOT NULL DEFAULT now(),
    origin      text NOT NULL,            -- 'partition:offset:row' of the record, or 'chunk:number:line'
    position    pg_lsn,
    reason      text NOT NULL,
    detail      text NOT NULL,
    raw         text NOT NULL,            -- JSON: table, wide, columns, row; or base64 of an undecodable record
    -- A digest of the row's table, entity and time, by which a later change of it is found; empty where one is NULL.
    place       text NOT NULL DEFAULT '',
    PRIMARY KEY (connector, id),
    UNIQUE (connector, origin, reason)
);
ALTER TABLE widebeam.quarantine ADD COLUMN IF NOT EXISTS place text NOT NULL DEFAULT '';
CREATE INDEX IF NOT EXISTS quarantine_place ON widebeam.quarantine (connector, place) WHERE place <> '';

-- Every destructive or fencing action, by whom.
CREATE TABLE IF NOT EXISTS widebeam.audit (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT now(),
    connector text NOT NULL,
    action    text NOT NULL,
    detail    jsonb NOT NULL DEFAULT '{}',
    by_role   text NOT NULL DEFAULT current_user
);
