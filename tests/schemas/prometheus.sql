-- Prometheus samples as remote-write adapters keep them: one row a sample, all its labels in a jsonb.
CREATE TABLE metrics (
    time   timestamptz NOT NULL,
    value  double precision NOT NULL,
    labels jsonb NOT NULL,
    PRIMARY KEY (labels, time)
);
CREATE INDEX metrics_time_idx ON metrics (time DESC);
