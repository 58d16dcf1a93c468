"""Capture on a real server: what each kind of change becomes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cdc.event import UNCHANGED
from cdc.record.record import Barrier, Changes, Truncated
from cdc.source.narrow import NarrowTable
from widebeam.lab.account import new_directory
from widebeam.lab.postgres import PostgresServer

ONE = (
    "INSERT INTO tenant.readings (ship_id, channel, created_time, double_v, format)"
    " VALUES ('s1', 'a', '2026-01-01', 1.5, 'Decimal')"
)
BIG_ONE = (
    "INSERT INTO tenant.readings (ship_id, channel, created_time, str_v)"
    " VALUES ('s1', 'a', '2026-01-01', repeat('x', 9000))"
)
MIDNIGHT = "2026-01-01 00:00:00"


def test_inserts_updates_and_deletes_come_with_the_servers_own_text(connector: Any) -> None:
    log = connector.captured(
        ONE,
        "UPDATE tenant.readings SET double_v = 0.1::float8 + 0.2, str_v = E'tab\\tand \\\\N' || chr(128674)",
        "UPDATE tenant.readings SET double_v = 'NaN', str_v = '', format = NULL",
        "DELETE FROM tenant.readings",
        "INSERT INTO tenant.readings (ship_id, channel, created_time, double_v)"
        " VALUES ('s1', 'a', '-infinity', '-Infinity'), ('s1', 'a', '0044-03-15 BC', 1e300)",
    )
    assert log.rows == [
        ["s1", MIDNIGHT, "i", "a", "1.5", None, "Decimal"],
        ["s1", MIDNIGHT, "u", "a", "0.30000000000000004", "tab\tand \\N\U0001f6a2", "Decimal"],
        ["s1", MIDNIGHT, "u", "a", "NaN", "", None],
        ["s1", MIDNIGHT, "d", "a", None, None, None],
        ["s1", "-infinity", "i", "a", "-Infinity", None, None],
        ["s1", "0044-03-15 00:00:00 BC", "i", "a", "1e+300", None, None],
    ]


def test_role_and_database_settings_do_not_change_the_text(connector: Any) -> None:
    for setting in ("DateStyle = 'German'", "extra_float_digits = 0", "TimeZone = 'Asia/Seoul'"):
        connector.admin.execute(f"ALTER DATABASE {connector.admin.info.dbname} SET {setting}")
    log = connector.captured(ONE.replace("1.5", "0.1::float8 + 0.2"))
    assert log.rows == [["s1", MIDNIGHT, "i", "a", "0.30000000000000004", None, "Decimal"]]


def test_a_stamp_says_commit_position_transaction_and_time(connector: Any) -> None:
    row = connector.admin.execute(
        "WITH made AS"
        " (INSERT INTO tenant.readings (ship_id, channel, created_time) VALUES ('s', 'c', 'now') RETURNING 1)"
        " SELECT pg_current_xact_id()::text::bigint % 4294967296, extract(epoch FROM now())::float8 FROM made"
    ).fetchone()
    first = connector.captured().records[0]
    assert (first.stamp.connector, first.stamp.generation, first.stamp.sequence) == (connector.name, 1, 0)
    assert first.stamp.xid == row[0]
    assert abs(first.stamp.commit_time / 1e6 - row[1]) < 10
    assert connector.cutoff.lsn < first.stamp.position < connector.wal_end()


def test_an_unchanged_toast_value_is_not_sent_and_not_null(connector: Any) -> None:
    log = connector.captured(BIG_ONE, "UPDATE tenant.readings SET double_v = 2")
    assert log.rows[0][5] == "x" * 9000
    assert log.rows[1] == ["s1", MIDNIGHT, "u", "a", "2", UNCHANGED, None]


def test_a_move_reads_the_unchanged_toast_value_from_the_source(connector: Any) -> None:
    log = connector.captured(BIG_ONE, "UPDATE tenant.readings SET channel = 'b', double_v = 2")
    assert log.rows[1:] == [
        ["s1", MIDNIGHT, "m", "a", None, None, None],
        ["s1", MIDNIGHT, "u", "b", "2", "x" * 9000, None],
    ]


def test_a_move_whose_row_is_gone_already_leaves_the_value_open(connector: Any) -> None:
    log = connector.captured(BIG_ONE, "UPDATE tenant.readings SET channel = 'b'", "DELETE FROM tenant.readings")
    assert [row[2:6] for row in log.rows[1:]] == [
        ["m", "a", None, None],
        ["u", "b", None, UNCHANGED],
        ["d", "b", None, None],
    ]


def test_full_replica_identity_brings_old_values_where_the_new_row_has_none(full_connector: Any) -> None:
    log = full_connector.captured(
        BIG_ONE,
        "UPDATE tenant.readings SET double_v = 2",
        "UPDATE tenant.readings SET ship_id = 's2', created_time = '2026-01-02'",
        "DELETE FROM tenant.readings",
    )
    big = "x" * 9000
    assert log.rows[1:] == [
        ["s1", MIDNIGHT, "u", "a", "2", big, None],
        ["s1", MIDNIGHT, "m", "a", "2", big, None],
        ["s2", "2026-01-02 00:00:00", "u", "a", "2", big, None],
        ["s2", "2026-01-02 00:00:00", "d", "a", "2", big, None],
    ]


def test_a_replica_identity_by_an_index_is_enough(database: str, prepared: Callable[..., Any]) -> None:
    connector = prepared(
        database,
        "ALTER TABLE tenant.readings DROP CONSTRAINT readings_pkey, ADD PRIMARY KEY (id),"
        " ALTER ship_id SET NOT NULL, ALTER channel SET NOT NULL, ALTER created_time SET NOT NULL;"
        " CREATE UNIQUE INDEX cell ON tenant.readings (created_time, channel, ship_id);"
        " ALTER TABLE tenant.readings REPLICA IDENTITY USING INDEX cell",
    )
    log = connector.captured(ONE, "UPDATE tenant.readings SET id = 99", "UPDATE tenant.readings SET channel = 'b'")
    assert [row[2:4] for row in log.rows] == [["i", "a"], ["u", "a"], ["m", "a"], ["u", "b"]]


def test_a_truncate_stands_in_every_partition_between_what_came_before_and_after(connector: Any) -> None:
    with connector.admin.transaction():
        connector.admin.execute(ONE)
        connector.admin.execute("TRUNCATE tenant.readings")
        connector.admin.execute(ONE)
    log = connector.captured()
    kinds = [(type(record), record.stamp.position % 8) for record in log.records]
    assert kinds == [(Changes, 0), *[(Truncated, 1)] * 3, (Changes, 1), *[(Barrier, 0)] * 3]


def test_only_transactional_messages_of_ours_become_barriers(connector: Any) -> None:
    log = connector.captured(
        "SELECT pg_logical_emit_message(false, 'widebeam', 'no')",
        "SELECT pg_logical_emit_message(true, 'stranger', 'no')",
        "SELECT pg_logical_emit_message(true, 'widebeam', 'grüße')",
    )
    assert [record.content for record in log.records] == ["grüße"] * 3 + ["fence"] * 3
    assert [number for number, _, _ in log.published] == [0, 1, 2] * 2
    assert all(key is None for _, key, _ in log.published)


def test_an_aborted_subtransaction_leaves_nothing(connector: Any) -> None:
    with connector.admin.transaction():
        connector.admin.execute(ONE)
        connector.admin.execute("SAVEPOINT s")
        connector.admin.execute(ONE.replace("'a'", "'aborted'"))
        connector.admin.execute("ROLLBACK TO s")
        connector.admin.execute(ONE.replace("'a'", "'b'"))
    assert [row[3] for row in connector.captured().rows] == ["a", "b"]


def test_rows_that_share_an_lsn_all_come(connector: Any) -> None:
    with connector.admin.cursor().copy(
        "COPY tenant.readings (ship_id, channel, created_time, double_v) FROM STDIN"
    ) as copy:
        for number in range(25_000):
            copy.write_row((f"s{number % 3}", f"c{number}", "2026-01-01", number))
    log = connector.captured()
    assert sorted(int(row[4]) for row in log.rows) == list(range(25_000))
    assert {row[3]: row[4] for row in log.rows} == {f"c{number}": str(number) for number in range(25_000)}
    assert len([record for record in log.records if isinstance(record, Changes)]) == 3 * 3


def test_types_origins_and_foreign_tables_do_not_disturb(database: str, prepared: Callable[..., Any]) -> None:
    connector = prepared(
        database,
        "CREATE TYPE tenant.mood AS ENUM ('ok', 'bad');"
        " ALTER TABLE tenant.readings ALTER format TYPE tenant.mood USING NULL;"
        " CREATE TABLE tenant.stranger (x int PRIMARY KEY)",
    )
    admin = connector.admin
    admin.execute(f"ALTER PUBLICATION {connector.name} ADD TABLE tenant.stranger")
    admin.execute("SELECT pg_replication_origin_create('upstream'), pg_replication_origin_session_setup('upstream')")
    log = connector.captured(ONE.replace("Decimal", "bad"), "INSERT INTO tenant.stranger VALUES (1)")
    assert log.rows == [["s1", MIDNIGHT, "i", "a", "1.5", None, "bad"]]


def test_a_partitioned_table_comes_under_its_own_name(database: str, prepared: Callable[..., Any]) -> None:
    connector = prepared(
        database,
        "DROP TABLE tenant.readings;"
        " CREATE TABLE tenant.readings (id bigserial, ship_id text, channel text, created_time timestamp,"
        " double_v float8, str_v text, format text, PRIMARY KEY (ship_id, channel, created_time))"
        " PARTITION BY RANGE (created_time);"
        " CREATE TABLE tenant.january PARTITION OF tenant.readings FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');"
        " CREATE TABLE tenant.rest PARTITION OF tenant.readings DEFAULT",
    )
    log = connector.captured(ONE, "UPDATE tenant.readings SET created_time = '2026-03-01'", "TRUNCATE tenant.readings")
    changes = [record for record in log.records if isinstance(record, Changes)]
    assert {record.table for record in changes} == {"tenant.readings"}
    assert [row[1:4] for row in log.rows] == [
        [MIDNIGHT, "i", "a"],
        [MIDNIGHT, "d", "a"],
        ["2026-03-01 00:00:00", "i", "a"],  # the server moves a row between partitions by delete and insert
    ]
    assert sum(isinstance(record, Truncated) for record in log.records) == 3


def test_two_phase_commit_comes_when_it_is_committed(prepared: Callable[..., Any]) -> None:
    server = PostgresServer.start(
        new_directory("wb-2pc-") / "pg", settings={"max_prepared_transactions": "5", "fsync": "off"}
    )
    try:
        connector = prepared(server.dsn())
        for name in ("kept", "dropped"):
            connector.admin.execute("BEGIN")
            connector.admin.execute(ONE.replace("'a'", f"'{name}'"))
            connector.admin.execute(f"PREPARE TRANSACTION '{name}'")
        connector.admin.execute(ONE)
        connector.admin.execute("COMMIT PREPARED 'kept'")
        connector.admin.execute("ROLLBACK PREPARED 'dropped'")
        assert [row[3] for row in connector.captured().rows] == ["a", "kept"]
    finally:
        server.stop("immediate")


def test_a_column_added_to_the_table_does_not_disturb(connector: Any) -> None:
    log = connector.captured(ONE, "ALTER TABLE tenant.readings ADD more int DEFAULT 5", ONE.replace("'a'", "'b'"))
    assert [row[3] for row in log.rows] == ["a", "b"]


def test_only_the_columns_of_the_mapping_are_on_the_wire(connector: Any) -> None:
    row = connector.admin.execute("SELECT attnames::text[] FROM pg_publication_tables").fetchone()
    table = NarrowTable(
        "tenant", "readings", ("ship_id",), ("created_time",), ("channel",), ("double_v", "str_v"), ("format",)
    )
    assert set(row[0]) == set(table.columns)
