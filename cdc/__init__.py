"""Change data capture: a PostgreSQL logical replication slot becomes a log of change records."""
