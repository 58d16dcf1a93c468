"""The whole sink over the log in memory: what it applies, and how it comes back."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import replace
from random import Random

import duckdb
import psycopg
import pytest
from psycopg import sql

from cdc.failpoint import Failpoint, armed, doing
from cdc.halt import Cause, Halt
from cdc.log.direct import MemoryLog
from cdc.lsn import Lsn
from cdc.record.envelope import encode
from cdc.record.record import Barrier, Changes, Stamp, Truncated
from cdc.trouble import TROUBLES
from sink import apply
from sink.run import Sink, SinkSettings
from tests.waiting import PATIENCE, until

COLUMNS = ["data_channel_id", "double_v", "long_v", "str_v", "bool_v", "value_format"]
TABLE = "tenant.tbl_data_timeseries"
FORMATS = {"Decimal": 1, "Integer": 2, "String": 3, "Boolean": 4}


def narrow(op, key, chosen=None, value=None):
    row = [op, key, None, None, None, None, chosen]
    if chosen is not None:
        row[FORMATS[chosen] + 1] = value
    return row


class Pipe:
    """A log of 4 partitions with a capture of our own, and sinks in threads."""

    def __init__(self, dsn, mapping):
        self.dsn, self.mapping = dsn, mapping
        self.log = MemoryLog(4)
        self.publisher = self.log.publisher()
        self.generation, self.sequences, self.published = 1, [0] * 4, [0] * 4
        self.stop, self.threads, self.failures = threading.Event(), [], []

    def stamp(self, partition, position):
        made = Stamp("ships", self.generation, self.sequences[partition], Lsn(position), 1, time.time_ns() // 1000)
        self.sequences[partition] += 1
        return made

    def send(self, partition, value):
        assert self.publisher.publish(partition, None, value, 0)
        self.published[partition] += 1

    def change(self, position, rows, ship="ship-1", at="2024-01-01 00:00:00", partition=0):
        wide = {"ship_id": ship, "created_time": at}
        self.send(partition, encode(Changes(self.stamp(partition, position), TABLE, wide, COLUMNS, rows)))

    def everywhere(self, position, record, *rest):
        for partition in range(4):
            self.send(partition, encode(record(self.stamp(partition, position), *rest)))

    def lose(self, partition):
        """A record whose delivery failed."""
        self.sequences[partition] += 1

    def next_generation(self):
        self.generation += 1
        self.sequences = [0] * 4

    def start(self, workers=1, **settings):
        def run():
            try:
                Sink(SinkSettings(self.dsn, self.mapping, **settings), self.log.join).run(self.stop)
            except Exception as error:  # noqa: BLE001
                self.failures.append(error)

        for _ in range(workers):
            self.threads.append(threading.Thread(target=run))
            self.threads[-1].start()

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def wait(self, target, seconds=PATIENCE):
        """Until everything published is applied, or a sink has failed."""
        deadline = time.monotonic() + seconds
        while not self.failures and time.monotonic() < deadline:
            rows = target.execute("SELECT next_offset FROM widebeam.progress ORDER BY partition").fetchall()
            if [row[0] for row in rows] == self.published:
                return
            self.stop.wait(0.02)
        assert self.failures, f"not applied in {seconds} s"


@pytest.fixture
def pipe(target, database, mapping):
    made = Pipe(database, mapping)
    yield made
    made.end()


def read(target, *columns, table="ship-1"):
    names = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(column)) for column in columns)
    query = sql.SQL("SELECT {} FROM wide.{} ORDER BY created_time").format(names, sql.Identifier(table))
    return target.execute(query).fetchall()


def quarantined(target):
    return target.execute("SELECT origin, reason FROM widebeam.quarantine ORDER BY origin").fetchall()


def test_changes_become_wide_rows_and_the_log_is_told(target, pipe):
    pipe.change(8, [narrow("i", "a", "Decimal", "1.5"), narrow("i", "b", "String", "x\ty")])
    pipe.change(16, [narrow("d", "a"), narrow("u", "c", "Boolean", "t")])
    pipe.start()
    pipe.wait(target)
    assert read(target, "a", "b", "c", "_lsn") == [(None, "x\ty", "true", "0/10")]
    assert pipe.publisher.delivered(10) != []
    rows = target.execute(
        "SELECT rows, cells, skipped, high::text FROM widebeam.progress WHERE partition = 0"
    ).fetchall()
    assert rows == [(4, 4, 0, "0/10")]


def test_nothing_is_applied_before_the_ledger_is_there(target, pipe):
    target.execute("UPDATE widebeam.connectors SET planned_at = NULL")
    pipe.change(8, [narrow("i", "a", "Decimal", "1")])
    pipe.start()
    pipe.stop.wait(0.6)
    assert target.execute("SELECT sum(next_offset) FROM widebeam.progress").fetchone() == (0,)
    target.execute("UPDATE widebeam.connectors SET planned_at = now()")
    pipe.wait(target)
    assert read(target, "a") == [("1",)]


def test_a_delete_in_an_unmerged_chunk_leaves_a_tombstone(target, pipe):
    target.execute(
        "INSERT INTO widebeam.chunks (connector, chunk, source, estimated)"
        " VALUES ('ships', 1, 'tenant.tbl_data_timeseries', 1)"
    )
    pipe.change(8, [narrow("i", "a", "Decimal", "1"), narrow("d", "a"), narrow("d", "no column")])
    pipe.start()
    pipe.wait(target)
    stones = target.execute('SELECT chunk, entity, "time", key FROM widebeam.tombstones ORDER BY key').fetchall()
    assert stones == [(1, '["ship-1"]', '["2024-01-01 00:00:00"]', key) for key in ("a", "no column")]


def test_a_gap_is_not_applied_past_until_the_next_generation_brings_it(target, pipe):
    pipe.change(8, [narrow("i", "a", "Decimal", "1")])
    pipe.lose(0)
    pipe.change(24, [narrow("i", "a", "Decimal", "3")])
    pipe.start()
    pipe.wait(target)
    assert read(target, "a") == [("1",)]
    assert target.execute("SELECT broken FROM widebeam.progress WHERE partition = 0").fetchone() == (True,)
    pipe.next_generation()
    pipe.change(8, [narrow("i", "a", "Decimal", "1")])
    pipe.change(16, [narrow("i", "a", "Decimal", "2")])
    pipe.change(24, [narrow("i", "b", "Decimal", "3")])
    pipe.wait(target)
    assert read(target, "a", "b") == [("2", "3")]


def test_a_gap_that_no_generation_mends_halts(target, pipe):
    pipe.lose(0)
    pipe.change(24, [narrow("i", "a", "Decimal", "3")])
    pipe.start(patience=0.2)
    pipe.threads[0].join(PATIENCE)
    (halt,) = pipe.failures
    assert isinstance(halt, Halt)
    assert halt.cause is Cause.LOG_INCOMPLETE


def test_a_truncate_halts_and_nothing_past_it_is_applied(target, pipe):
    pipe.change(8, [narrow("i", "a", "Decimal", "1")])
    pipe.send(0, encode(Truncated(pipe.stamp(0, 17), [TABLE])))
    pipe.change(24, [narrow("i", "a", "Decimal", "2")])
    pipe.start()
    pipe.threads[0].join(PATIENCE)
    assert [failure.cause for failure in pipe.failures] == [Cause.TRUNCATE]
    assert read(target, "a") == [("1",)]
    assert target.execute("SELECT next_offset FROM widebeam.progress WHERE partition = 0").fetchone() == (1,)


@pytest.mark.parametrize(("policy", "left"), [("ignore", [("1", "2"), ("1", None)]), ("apply", [(None, "2")])])
def test_a_truncate_is_applied_or_ignored_as_the_mapping_says(target, pipe, policy, left):
    target.execute(
        "INSERT INTO widebeam.chunks (connector, chunk, source, estimated)"
        " VALUES ('ships', 1, 'tenant.tbl_data_timeseries', 1)"
    )
    pipe.mapping = replace(pipe.mapping, on_truncate=policy)
    pipe.change(8, [narrow("i", "a", "Decimal", "1")])
    pipe.change(8, [narrow("i", "a", "Decimal", "1")], at="2024-01-02 00:00:00", partition=1)
    pipe.everywhere(17, Truncated, [TABLE, "tenant.other"])
    pipe.change(24, [narrow("i", "b", "Decimal", "2")])
    pipe.start()
    pipe.wait(target)
    assert read(target, "a", "b") == left
    state = "void" if policy == "apply" else "planned"
    assert target.execute("SELECT state FROM widebeam.chunks").fetchall() == [(state,)]


def test_a_truncate_of_another_table_is_nothing(target, pipe):
    pipe.everywhere(17, Truncated, ["tenant.other"])
    pipe.change(24, [narrow("i", "a", "Decimal", "2")])
    pipe.start()
    pipe.wait(target)
    assert read(target, "a") == [("2",)]


def test_a_barrier_is_passed_by_every_partition(target, pipe):
    pipe.everywhere(40, Barrier, "x")
    pipe.start(workers=2)
    pipe.wait(target)
    assert target.execute("SELECT DISTINCT barrier::text FROM widebeam.progress").fetchall() == [("0/28",)]


def test_what_is_no_record_of_ours_is_quarantined_once_and_the_rest_goes_on(target, pipe):
    pipe.send(0, b"\xff not json")
    foreign = Stamp("others", 1, 0, Lsn(8), 1, 1)
    pipe.send(0, encode(Changes(foreign, TABLE, {"ship_id": "s", "created_time": "t"}, COLUMNS, [narrow("d", "a")])))
    pipe.change(8, [narrow("i", "", "Decimal", "1"), narrow("i", "a", "Decimal", "1")])
    pipe.start()
    pipe.wait(target)
    assert quarantined(target) == [("0:0", "undecodable_record"), ("0:1", "foreign_record"), ("0:2:0", "empty_key")]
    assert read(target, "a") == [("1",)]


def test_a_value_that_the_target_refuses_is_quarantined_and_the_values_and_records_around_it_are_applied(target, pipe):
    for n in range(20):
        value = "not a number" if n in {7, 8} else str(n)
        pipe.change(8 * n + 8, [narrow("i", f"k{n}", "Decimal", value)])
    pipe.change(400, [narrow("i", "a", "Decimal", "1")], at="not a time")
    values = ["1", "2", "odd", "4", "odd", "6", "7"]
    pipe.change(408, [narrow("i", f"m{n}", "Decimal", value) for n, value in enumerate(values)])
    pipe.start()
    pipe.wait(target)
    assert quarantined(target) == [
        ("0:20:0", "bad_value"), ("0:21:2", "bad_value"), ("0:21:4", "bad_value"), ("0:7:0", "bad_value"),
        ("0:8:0", "bad_value"),
    ]  # fmt: skip
    assert read(target, "k6", "k9", "k19") == [("6", "9", "19")]
    assert read(target, *(f"m{n}" for n in range(7))) == [("1", "2", None, "4", None, "6", "7")]


def test_a_key_that_changes_its_type_is_quarantined_and_cleared(target, pipe):
    pipe.change(8, [narrow("i", "a", "Decimal", "1"), narrow("i", "b", "Decimal", "1")])
    pipe.change(16, [narrow("u", "a", "String", "x")])
    pipe.start()
    pipe.wait(target)
    assert quarantined(target) == [("0:1:0", "type_conflict")]
    assert read(target, "a", "b") == [(None, "1")]


def test_reject_puts_readings_of_unknown_keys_into_quarantine(target, pipe):
    pipe.mapping = replace(pipe.mapping, unknown_key="reject")
    pipe.change(8, [narrow("i", "a", "Decimal", "1")])
    pipe.start()
    pipe.wait(target)
    assert quarantined(target) == [("0:0:0", "unknown_key")]


def test_a_rewind_by_somebody_else_fences_the_sink_and_is_followed(target, pipe):
    pipe.change(8, [narrow("i", "a", "Decimal", "1")])
    pipe.start()
    pipe.wait(target)
    target.execute("UPDATE widebeam.progress SET epoch = epoch + 1, high = '0/0' WHERE partition = 0")
    pipe.change(16, [narrow("i", "a", "Decimal", "2")])
    pipe.wait(target)
    assert read(target, "a") == [("2",)]
    assert target.execute("SELECT epoch FROM widebeam.progress WHERE partition = 0").fetchone() == (1,)


def test_a_target_table_that_is_dropped_halts_and_names_it(target, pipe):
    pipe.change(8, [narrow("i", "a", "Decimal", "1")])
    pipe.start()
    pipe.wait(target)
    target.execute('DROP TABLE wide."ship-1__1" CASCADE')
    pipe.change(16, [narrow("i", "a", "Decimal", "2")])
    pipe.threads[0].join(PATIENCE)
    (halt,) = pipe.failures
    assert halt.cause is Cause.TARGET_CHANGED
    assert "ship-1__1" in halt.what


def test_a_target_that_stays_away_halts_in_the_end(database, mapping):
    absent = psycopg.conninfo.make_conninfo(database, dbname="no_such_database")
    pipe = Pipe(absent, mapping)
    pipe.start(give_up_after=0.5)
    pipe.threads[0].join(PATIENCE)
    assert [failure.cause for failure in pipe.failures] == [Cause.REPEATED_FAILURE]


def test_a_target_that_is_read_only_is_waited_for_however_long_and_the_wait_is_told(target, pipe, monkeypatch):
    def read_only(how):
        name = sql.Identifier(target.info.dbname)
        target.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}").format(name, sql.SQL(how)))
        target.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'widebeam sink%'"
        )

    tries = []
    monkeypatch.setattr(TROUBLES, "hold", lambda where, what: tries.append(what))
    read_only("on")
    pipe.change(8, [narrow("i", "a", "Decimal", "1")])
    pipe.start(give_up_after=0.0)
    until(lambda: len(tries) > 2 or pipe.failures)
    read_only("off")
    pipe.wait(target)
    assert pipe.failures == []
    assert read(target, "a") == [("1",)]
    assert any("the target: ReadOnlySqlTransaction" in what for what in tries)


def test_a_stop_while_the_target_is_away_ends_cleanly(database, mapping):
    pipe = Pipe(psycopg.conninfo.make_conninfo(database, dbname="no_such_database"), mapping)
    pipe.start()
    pipe.stop.wait(0.3)
    pipe.end()
    assert pipe.failures == []


def test_the_latency_is_written_down(target, pipe):
    pipe.start()
    pipe.change(8, [narrow("i", "a", "Decimal", "1"), narrow("i", "b", "Decimal", "1")])
    pipe.wait(target)
    counted = "SELECT sum(n) FROM widebeam.progress, unnest(latency) AS n"
    until(lambda: target.execute(counted).fetchone() == (2,))


def test_a_batch_for_many_wide_tables_is_cut(target, pipe, monkeypatch):
    """Each of them is locked to its end, and there is room for so many locks only."""
    monkeypatch.setattr(apply, "MOST_TABLES", 4)
    for n in range(30):
        pipe.change(8 * n + 8, [narrow("i", "a", "Decimal", str(n))], ship=f"ship-{n}")
    pipe.start()
    pipe.wait(target)
    assert not pipe.failures
    ships = [target.execute(f'SELECT xmin::text, a FROM wide."ship-{n}__1"').fetchall() for n in range(30)]
    assert [float(n) for n in range(30)] == [value for [(_, value)] in ships]
    transactions = Counter(xmin for [(xmin, _)] in ships)
    assert max(transactions.values()) <= 4
    assert len(transactions) < 15  # it goes on with batches that are as large as they may be


def lose_commit_answers(monkeypatch, every):
    """Each so many commits, the answer is lost after the server has committed; at others the session dies before."""
    original, count = psycopg.Transaction.__exit__, [0]

    def leave(self, kind, error, trace):
        count[0] += 1
        if kind is None and count[0] % every == 0:
            self.connection.cancel_safe()
            self.connection.close()
            raise psycopg.OperationalError("the session was lost before COMMIT")
        result = original(self, kind, error, trace)
        if kind is None and count[0] % every == every // 2:
            self.connection.close()
            raise psycopg.OperationalError("the answer to COMMIT was lost")
        return result

    monkeypatch.setattr(psycopg.Transaction, "__exit__", leave)
    return count


@pytest.mark.parametrize("layout", ["per_entity", "single"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_changes_with_lost_connections_equal_the_pivot_by_duckdb(target, pipe, monkeypatch, seed, layout):
    random = Random(seed)
    pipe.mapping = replace(pipe.mapping, layout=layout, name="ships" if layout == "single" else "{entity}")
    keys = [(f"k{n}", random.choice(list(FORMATS))) for n in range(12)]
    state = {}
    count = lose_commit_answers(monkeypatch, every=9)
    pipe.start(workers=2, batch_rows=40)
    for position in range(8, 8 * 200, 8):
        ship, minute = random.choice(["ship-1", "ship-2"]), random.randrange(10)
        at = f"2024-01-01 00:{minute:02}:00"
        rows = []
        for _ in range(random.randint(1, 12)):
            key, chosen = random.choice(keys)
            if random.random() < 0.35:
                state.pop((ship, at, key), None)
                rows.append(narrow("d", key))
            else:
                value = a_value(random, chosen)
                state[ship, at, key] = value
                rows.append(narrow(random.choice("iu"), key, chosen, value))
        pipe.change(position, rows, ship=ship, at=at, partition=minute % 4)
        if random.random() < 0.1:
            pipe.stop.wait(0.05)
    pipe.wait(target)
    monkeypatch.undo()
    assert pipe.failures == []
    assert count[0] > 9
    for ship in ("ship-1", "ship-2"):
        assert wide_as_text(target, layout, ship) == pivot_by_duckdb(state, ship)
    assert target.execute("SELECT sum(rows) FROM widebeam.progress").fetchone() >= (199,)


def a_value(random, chosen):
    match chosen:
        case "Decimal":
            return random.choice(["0.1", "-0", "NaN", "-Infinity", "5e-324", "1.7976931348623157e+308", "1e+300", "42"])
        case "Integer":
            return str(random.randrange(-(2**63), 2**63))
        case "Boolean":
            return random.choice(["true", "false"])  # "t" and "f" in the stream; text is compared here
        case _:
            return random.choice(["", "a\tb", "\\N", "엔진 🚢", None, "x\\ny", "line\nline"])


def wide_as_text(target, layout, ship):
    """{(time, column): text} of what readers see."""
    view, where = ("ships", "WHERE ship_id = %s") if layout == "single" else (ship, "WHERE %s <> ''")
    with target.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT * FROM wide.{} LIMIT 0").format(sql.Identifier(view)))
        columns = [column.name for column in cursor.description or () if column.name.startswith("k")]
    names = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in columns)
    rows = target.execute(
        sql.SQL("SELECT created_time::text, {} FROM wide.{} " + where).format(names, sql.Identifier(view)), [ship]
    ).fetchall()
    assert all(any(value is not None for value in row[1:]) for row in rows)
    return cells_of(columns, rows)


def pivot_by_duckdb(state, ship):
    """The same by an independent hand: DuckDB pivots the narrow rows that are left."""
    with duckdb.connect() as duck:
        duck.execute("CREATE TABLE narrow (created_time text, data_channel_id text, value text)")
        rows = [[at, key, value] for (each, at, key), value in state.items() if each == ship]
        duck.executemany("INSERT INTO narrow VALUES (?, ?, ?)", rows)
        pivoted = duck.execute("PIVOT narrow ON data_channel_id USING first(value) GROUP BY created_time")
        columns = [each[0] for each in pivoted.description]
        return cells_of(columns[1:], pivoted.fetchall())


def cells_of(columns, rows):
    cells = {(row[0], column): value for row in rows for column, value in zip(columns, row[1:], strict=True)}
    return {place: value for place, value in cells.items() if value is not None}


def test_a_batch_whose_commit_is_not_answered_is_neither_lost_nor_applied_twice(target, pipe):
    with armed("sink.merged=cut@2") as traps:
        pipe.change(8, [narrow("i", "a", "Decimal", "1")])
        pipe.start()
        pipe.wait(target)
        pipe.change(16, [narrow("i", "b", "Decimal", "2"), narrow("d", "a")])
        pipe.wait(target)
        pipe.change(24, [narrow("i", "c", "Decimal", "3")])
        pipe.wait(target)
        assert traps[Failpoint.SINK_MERGED].hits == 3, "the batch itself, once, is all that was done of it"
    assert read(target, "a", "b", "c") == [(None, "2", "3")]
    assert target.execute("SELECT rows, next_offset FROM widebeam.progress WHERE partition = 0").fetchone() == (4, 3)
    assert not pipe.failures


def test_a_sink_that_stood_still_since_its_assignment_cannot_take_anything_back(target, database, mapping, pipe):
    """A zombie: it knows where its partitions were, another one has come on since, and then it wakes up."""
    asleep, wake = threading.Event(), threading.Event()

    def sleep_once():
        if not asleep.is_set():
            asleep.set()
            assert wake.wait(60)

    other = Pipe(database, mapping)
    other.change(8, [narrow("i", "a", "Decimal", "1")])
    pipe.change(8, [narrow("i", "a", "Decimal", "1")])
    pipe.change(16, [narrow("u", "a", "Decimal", "2")])
    with doing(Failpoint.SINK_ASSIGNED, sleep_once):
        other.start()
        assert asleep.wait(60)
        pipe.start()
        pipe.wait(target)
        wake.set()
        other.threads[0].join(PATIENCE)  # it starts anew, and its log has nothing for it any more
        other.end()
    assert len(other.failures) == 1
    assert read(target, "a") == [("2",)]
    assert target.execute("SELECT rows, next_offset FROM widebeam.progress WHERE partition = 0").fetchone() == (2, 2)


def test_the_late_buffer_of_an_old_capture_does_not_come_between_the_records_of_the_new_one(target, pipe):
    """The generation changes, and the old producer's queue empties only then, with a newer transaction in it."""
    pipe.change(8, [narrow("i", "a", "Decimal", "1")])
    old = list(pipe.sequences)
    pipe.next_generation()
    pipe.change(8, [narrow("i", "a", "Decimal", "1")])
    new, pipe.generation, pipe.sequences = pipe.sequences, 1, old
    pipe.change(24, [narrow("i", "c", "Decimal", "3")])
    pipe.generation, pipe.sequences = 2, new
    pipe.change(16, [narrow("i", "b", "Decimal", "2")])
    pipe.change(24, [narrow("i", "c", "Decimal", "3")])
    pipe.start()
    pipe.wait(target)
    assert read(target, "a", "b", "c") == [("1", "2", "3")]
    assert target.execute("SELECT skipped, broken FROM widebeam.progress WHERE partition = 0").fetchone() == (1, False)


PASSING = ["40P01", "40001", "57014", "53100", "55P03"]
"""A deadlock, a serialisation failure, a time-out, a full disk, a lock that is not available."""


@pytest.mark.parametrize("code", PASSING)
def test_a_failure_that_passes_is_tried_again_and_nothing_is_lost(target, pipe, code):
    target.execute(
        "CREATE SEQUENCE public.attempts; CREATE FUNCTION public.fail_once() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN IF nextval('public.attempts') = 1 THEN RAISE 'as the test wished' USING ERRCODE = TG_ARGV[0]; END IF;"
        " RETURN new; END $$"
    )
    when = "CREATE TRIGGER fail_once AFTER UPDATE OF next_offset ON widebeam.progress FOR EACH ROW EXECUTE FUNCTION "
    target.execute(sql.SQL(when + "public.fail_once({})").format(sql.Literal(code)))
    pipe.change(8, [narrow("i", "a", "Decimal", "1")])
    pipe.start()
    pipe.wait(target)
    assert not pipe.failures
    assert read(target, "a") == [("1",)]
    assert target.execute("SELECT last_value FROM public.attempts").fetchone() == (2,)


def test_a_batch_that_fails_before_its_commit_leaves_neither_rows_nor_progress(target, pipe):
    failed = []

    def fail_once():
        if not failed:
            failed.append(True)
            raise psycopg.OperationalError("as the test wished")

    pipe.change(8, [narrow("i", "a", "Decimal", "1")])
    with doing(Failpoint.SINK_MERGED, fail_once):
        pipe.start()
        pipe.wait(target)
    assert not pipe.failures
    assert read(target, "a") == [("1",)]
    assert target.execute("SELECT rows, next_offset FROM widebeam.progress WHERE partition = 0").fetchone() == (1, 1)
