"""Readings get out of quarantine to where they belong, and never over something newer."""

from __future__ import annotations

import threading
from dataclasses import replace
from importlib.resources import files
from itertools import count

import psycopg
import pytest
from psycopg import sql

from cdc.failpoint import Failpoint, Injected, armed, doing
from cdc.log.transport import Received
from cdc.lsn import Lsn
from cdc.patience import LockHeld
from cdc.record.avro import AvroCodec
from cdc.record.envelope import decode, encode, encode_key
from cdc.record.partition import partition
from cdc.record.record import Barrier, Changes, Stamp
from cdc.source.narrow import NarrowTable
from cdc.source.session import connect
from cdc.source.time_encoding import TimeRule
from cdc.source.writers import StillWriting
from sink.apply import Applier
from sink.fold.batch import Batch
from sink.fold.quarantine_entry import quarantine_entry, undecodable
from sink.mapping.mapping import Mapping
from sink.mapping.rule import Rule
from sink.state import account, quarantine, standstill
from sink.target import open_target
from sink.wide.registry import Registry
from tests.pipeline import until
from widebeam.quarantine import store
from widebeam.quarantine.retry import Retry
from widebeam.quarantine.store import Choice

TABLE = "tenant.readings"
COLUMNS = ["channel", "f", "t", "kind"]
TYPES = {
    "ship": "text",
    "at": "timestamp without time zone",
    "channel": "text",
    "f": "double precision",
    "t": "text",
    "kind": "text",
}
NARROW = NarrowTable("tenant", "readings", ("ship",), ("at",), ("channel",), ("f", "t"), ("kind",))
AT = "2024-01-01 00:00:00"


REACHED = {Failpoint.DISCARD_TAKEN_OUT, Failpoint.DISCARD_COMMITTED}


def mapping(**choices):
    rule = Rule.of(NARROW, TYPES, discriminator="kind", choices={"F": "f", **choices})
    return Mapping("ships", (rule,), "wide", "{entity}")


class Stage:
    """A source and a target in one database, and a sink that is driven by hand. `mapping` does not know kind T."""

    def __init__(self, dsn):
        self.dsn, self.offset, self.position = dsn, 0, 0x100
        self.target, self.source = open_target(dsn, "test"), connect(dsn, autocommit=True)
        self.target.execute(files("sink").joinpath("control.sql").read_bytes())
        self.target.execute(
            "INSERT INTO widebeam.connectors (connector, transport, partitions, slot, publication, system_id, timeline,"
            " cutoff, planned_at, settings)"
            " VALUES ('ships', 'direct', 1, 's', 'p', '1', 1, '0/100', now(), '{}');"
            "INSERT INTO widebeam.progress (connector, partition) VALUES ('ships', 0);"
            "CREATE SCHEMA tenant;"
            "CREATE TABLE tenant.readings (ship text, at timestamp, channel text, f float8, t text, kind text,"
            " PRIMARY KEY (ship, channel, at))"
        )
        self.mapping = mapping()

    def write(self, channel, value, kind="F", at=AT, *, stream=True):
        """Upsert a reading; the stream brings it, unless told otherwise."""
        f, t = (value, None) if kind == "F" else (None, value)
        self.source.execute(
            "INSERT INTO tenant.readings VALUES ('a', %s, %s, %s, %s, %s) ON CONFLICT (ship, channel, at) DO UPDATE"
            " SET f = EXCLUDED.f, t = EXCLUDED.t, kind = EXCLUDED.kind",
            [at, channel, f, t, kind],
        )
        if stream:
            self.bring(["u", channel, f, t, kind], at=at)

    def delete(self, channel, at=AT, *, stream=True):
        self.source.execute("DELETE FROM tenant.readings WHERE (channel, at) = (%s, %s)", [channel, at])
        if stream:
            self.bring(["d", channel, None, None, None], at=at)

    def bring(self, row, at=AT):
        """One change of the stream is applied."""
        self.position += 8
        stamp = Stamp("ships", 1, self.offset, Lsn(self.position), 1, 0)
        value = encode(Changes(stamp, TABLE, {"ship": "a", "at": at}, COLUMNS, [row]))
        self.apply(value)

    def apply(self, value):
        registry = Registry(self.mapping)
        registry.refresh(self.target)
        known = {0: account.load(self.target, "ships", [0])[0].progress}
        batch = Batch(self.mapping, decode, known)
        batch.take(Received(0, self.offset, None, value, -1))
        Applier(self.target, self.mapping, registry).apply(batch)
        self.offset += 1

    def bring_misfit(self, row, at=AT, position=0x108):
        """One change that goes into quarantine."""
        stamp = Stamp("ships", 1, 0, Lsn(position), 1, 0)
        changes = Changes(stamp, TABLE, {"ship": "a", "at": at}, COLUMNS, [row])
        quarantine.write(
            self.target, "ships", [quarantine_entry(changes, 0, f"0:{position}", "unknown_discriminator", "by hand")]
        )

    def retry(self, **choice):
        return Retry(self.source, self.target, self.mapping, patience=5).run(Choice("ships", **choice))

    def wide(self, *columns, at=AT):
        names = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(column)) for column in columns)
        query = sql.SQL("SELECT {} FROM wide.a WHERE at = %s").format(names)
        return self.target.execute(query, [at]).fetchone()

    def reasons(self):
        return [entry.reason for entry in store.entries(self.target, Choice("ships"))]

    def close(self):
        self.target.close()
        self.source.close()


@pytest.fixture
def stage(database):
    made = Stage(database)
    yield made
    made.close()


def test_a_reading_gets_its_place_after_the_mapping_was_mended(stage):
    stage.write("speed", "1.5")
    stage.write("state", "on\ttab", "T")
    assert stage.reasons() == ["unknown_discriminator"]
    stage.mapping = mapping(T="t")
    assert stage.retry().placed == [1]
    assert stage.wide("speed", "state", "_lsn") == ("1.5", "on\ttab", str(Lsn(stage.position)))
    assert stage.reasons() == []
    (action, detail) = stage.target.execute("SELECT action, detail FROM widebeam.audit").fetchone()
    assert (action, detail["entries"][0]["id"]) == ("quarantine retry", 1)


def test_without_mending_it_stays_with_the_reason_that_holds_now(stage):
    stage.write("state", "on", "T")
    done = stage.retry()
    assert done.unfit == {1: ("unknown_discriminator", "'T' is no choice")}
    assert (done.placed, stage.reasons()) == ([], ["unknown_discriminator"])


def test_what_the_source_has_now_is_placed_and_not_what_lay_in_quarantine(stage):
    stage.mapping = mapping(T="t")
    stage.write("state", "new", "T")
    stage.bring_misfit(["u", "state", None, "old", "T"])
    stage.target.execute("UPDATE wide.a SET state = 'damaged'")
    assert stage.retry().placed == [1]
    assert stage.wide("state") == ("new",)


def test_a_reading_that_was_deleted_since_does_not_come_back(stage):
    stage.write("speed", "1")
    stage.write("state", "on", "T")
    stage.delete("state", stream=False)
    stage.mapping = mapping(T="t")
    assert stage.retry().gone == [1]
    assert stage.reasons() == []
    assert stage.target.execute("SELECT count(*) FROM widebeam.columns WHERE key = 'state'").fetchone() == (0,)
    assert stage.wide("speed") == ("1",)


def test_a_change_that_is_still_to_come_is_not_undone_by_it(stage):
    """The source is ahead of the sink: what is written is the newer value, and the stream brings it again."""
    stage.write("state", "one", "T")
    stage.mapping = mapping(T="t")
    stage.write("state", "two", "T", stream=False)
    stage.retry()
    assert stage.wide("state") == ("two",)
    stage.bring(["u", "state", None, "two", "T"])
    assert stage.wide("state") == ("two",)
    stage.delete("state", stream=False)
    stage.bring(["d", "state", None, None, None])
    assert stage.wide("state") is None


def test_two_entries_of_one_cell_are_settled_together(stage):
    stage.write("state", "one", "T")
    stage.write("state", "two", "T", stream=False)
    stage.bring_misfit(["u", "state", None, "two", "T"], position=0x110)
    stage.mapping = mapping(T="t")
    assert stage.retry().placed == [1, 2]
    assert stage.wide("state") == ("two",)


def test_entries_are_chosen_by_number_and_reason(stage):
    stage.write("state", "one", "T")
    stage.write("other", "two", "T")
    stage.write("", "3")
    stage.mapping = mapping(T="t")
    assert stage.retry(reasons=["empty_key"]).unfit == {3: ("empty_key", "the key is empty")}
    with pytest.raises(LookupError, match=r"has no entry 7, 9 of the reason empty_key: `widebeam quarantine list"):
        store.must_have(stage.target, Choice("ships", [3, 7, 9], ["empty_key"]))
    assert stage.retry(ids=[2]).placed == [2]
    assert [heap[:2] for heap in store.heaps(stage.target, Choice("ships"))] == [
        ("empty_key", 1),
        ("unknown_discriminator", 1),
    ]


def test_a_value_that_the_target_refuses_stays_and_the_others_are_placed(stage):
    for n in range(5):
        stage.write(f"k{n}", str(n), "T")
    stage.mapping = mapping(T="t")
    Registry(stage.mapping).ensure(stage.target, [])
    stage.write("k0", "0", "T", at="2024-01-02 00:00:00")
    stage.target.execute("ALTER TABLE wide.a__1 ADD CHECK (k0 <> '3')")
    stage.write("k0", "3", "T", stream=False)
    done = stage.retry()
    assert sorted(done.placed) == [2, 3, 4, 5]
    assert {number: reason for number, (reason, _) in done.unfit.items()} == {1: "bad_value"}
    assert stage.wide("k1", "k4") == ("1", "4")


def test_rows_gone_while_deletes_are_ignored_are_not_decided(stage):
    stage.write("state", "on", "T")
    stage.delete("state", stream=False)
    stage.mapping = replace(mapping(T="t"), on_delete="ignore")
    assert stage.retry().undecided == [1]
    assert stage.reasons() == ["unknown_discriminator"]


def test_where_several_rows_meet_in_a_cell_the_one_that_holds_now_is_placed(stage):
    stage.source.execute("ALTER TABLE tenant.readings DROP CONSTRAINT readings_pkey")
    stage.source.execute(
        "INSERT INTO tenant.readings VALUES ('a', '2024-01-01 00:00:01', 'state', NULL, 'one', 'T'),"
        " ('a', '2024-01-01 00:00:04', 'state', NULL, 'two', 'T'),"
        " ('a', '2024-01-01 00:00:09', 'state', NULL, 'no', 'T')"
    )
    stage.bring_misfit(["u", "state", None, "one", "T"], at="2024-01-01 00:00:01")
    known = mapping(T="t")
    stage.mapping = replace(known, rules=(replace(known.rule, several="last", time=TimeRule(bucket=10_000_000)),))
    assert stage.retry().placed == [1]
    assert stage.wide("state") == ("two",)


def test_it_waits_for_whoever_has_written_and_is_not_visible_yet(stage):
    stage.write("state", "on", "T")
    stage.mapping = mapping(T="t")
    with psycopg.connect(stage.dsn) as writer:
        writer.execute("DELETE FROM tenant.readings")
        retry = Retry(stage.source, stage.target, stage.mapping, patience=0.1)
        with pytest.raises(StillWriting):
            retry.run(Choice("ships"))
        assert stage.reasons() == ["unknown_discriminator"]
        patient = threading.Thread(target=stage.retry)
        patient.start()
        writer.commit()
        patient.join(10)
    assert stage.reasons() == []
    assert stage.target.execute("SELECT count(*) FROM widebeam.columns").fetchone() == (1,)
    assert stage.wide("state") is None


def test_no_sink_advances_while_the_source_is_read(stage, monkeypatch):
    stage.write("state", "on", "T")
    stage.mapping = mapping(T="t")
    seen = []

    def look(*_):
        with connect(stage.dsn, autocommit=True) as other:
            try:
                other.execute("SELECT FROM widebeam.progress FOR UPDATE NOWAIT")
            except psycopg.errors.LockNotAvailable:
                seen.append("locked")

    monkeypatch.setattr(standstill, "await_writers", look)
    stage.retry()
    assert seen == ["locked"]


def test_batches_go_in_the_order_of_positions_and_none_is_larger_than_it_may_be(stage, monkeypatch):
    for position in (0x1000, 0x208, 0xF00, 0x300):  # as sinks of several partitions bring them; no order of texts
        stage.write(f"k{position}", "on", "T", stream=False)
        stage.bring_misfit(["u", f"k{position}", None, "on", "T"], position=position)
    stage.apply(b"{]")
    stage.mapping = mapping(T="t")
    for limit, value, sizes in (("_AT_ONCE", 2, [2, 2, 1]), ("_BYTES_AT_ONCE", 1, [1] * 5)):
        with monkeypatch.context() as patched:
            patched.setattr(store, limit, value)
            found = list(store.batches(stage.target, Choice("ships")))
        assert [len(each) for each in found] == sizes
        assert [entry.id for each in found for entry in each] == [2, 4, 3, 1, 5]
    monkeypatch.setattr(store, "_AT_ONCE", 3)
    assert stage.retry().placed == [2, 4, 3, 1]
    audited = stage.target.execute("SELECT jsonb_array_length(detail -> 'entries') FROM widebeam.audit").fetchall()
    assert audited == [(3,), (1,)]


def test_what_overtakes_a_row_between_two_batches_that_speak_of_it_is_not_undone(stage, monkeypatch):
    monkeypatch.setattr(store, "_AT_ONCE", 1)
    for n, value in enumerate(("one", "two", "three")):
        stage.write("state", value, "T", stream=False)
        stage.bring_misfit(["u", "state", None, value, "T"], position=0x101 + n)
    stage.mapping = mapping(T="t")
    overtaking = iter([lambda: stage.write("state", "newest", "T", stream=False), lambda: stage.delete("state")])
    seen = []

    def overtake():
        seen.append(stage.wide("state"))
        next(overtaking)()

    with doing(Failpoint.RETRY_COMMITTED, overtake):
        done = stage.retry()
    assert seen == [("three",), ("newest",)]
    assert (done.placed, done.gone) == ([1, 2], [])  # the stream's delete has closed the third
    assert stage.wide("state") is None
    assert stage.reasons() == []


def test_a_lock_is_not_waited_for_without_a_bound_and_who_holds_it_is_named(stage):
    stage.write("state", "on", "T")
    stage.mapping = mapping(T="t")
    stage.target.execute("SET statement_timeout = '20s'")  # of the test, should it wait
    retry = Retry(stage.source, stage.target, stage.mapping, lock_patience=0.1)
    with connect(stage.dsn, application_name="a sink that stands still") as sink:
        sink.execute("SELECT FROM widebeam.progress FOR UPDATE")
        with pytest.raises(LockHeld, match=r"the quarantine of ships waits .* a sink that stands still"):
            retry.run(Choice("ships"))
    assert stage.reasons() == ["unknown_discriminator"]
    assert stage.target.execute("SHOW lock_timeout").fetchone() == ("0",)
    assert retry.run(Choice("ships")).placed == [1]


def test_a_batch_is_staged_before_any_lock_and_anew_if_the_source_has_something_else_by_then(stage):
    """A process that is stopped in the middle of a COPY stays there; so nobody may need what it holds."""
    stage.write("state", "one", "T")
    stage.mapping = mapping(T="t")
    free = []

    def look():
        with connect(stage.dsn, autocommit=True) as sink:
            locked = "SELECT count(*) FROM (SELECT FROM {} FOR UPDATE SKIP LOCKED) AS locked"
            free.append([sink.execute(locked.format(f"widebeam.{n}")).fetchone() for n in ("progress", "quarantine")])
        if len(free) == 1:
            stage.write("state", "two", "T", stream=False)

    with doing(Failpoint.RETRY_STAGED, look):
        assert stage.retry().placed == [1]
    assert free == [[(1,), (1,)]] * 2
    assert stage.wide("state") == ("two",)


def test_rows_that_change_all_the_time_are_placed_one_by_one_or_stay(stage, monkeypatch):
    for channel in ("steady", "busy"):
        stage.write(channel, "0", "T")
    stage.mapping = mapping(T="t")
    values = count(1)
    with doing(Failpoint.RETRY_STAGED, lambda: stage.write("busy", str(next(values)), "T", stream=False)):
        retry = Retry(stage.source, stage.target, stage.mapping)
        with pytest.raises(LookupError, match="change faster than they can be placed"):
            retry.run(Choice("ships"))
    assert retry.done.placed == [1]
    assert stage.retry().placed == [2]
    assert stage.wide("steady", "busy") == ("0", str(next(values) - 1))


def test_each_row_is_put_where_its_own_partition_is(stage):
    """What a partition is behind with may be a truncate: it removes rows from before it, and no others."""
    stage.target.execute("INSERT INTO widebeam.progress (connector, partition) SELECT 'ships', generate_series(1, 3)")
    stage.target.execute("UPDATE widebeam.progress SET high = ('0/' || partition + 1 || '000')::pg_lsn")
    days = [f"2024-01-{day:02} 00:00:00" for day in range(1, 9)]
    for n, day in enumerate(days):
        stage.write("state", "on", "T", at=day, stream=False)
        stage.bring_misfit(["u", "state", None, "on", "T"], at=day, position=0x100 + 8 * n)
    stage.mapping = mapping(T="t")
    assert len(stage.retry().placed) == 8
    wanted = [f"0/{partition(encode_key(('a', day)), 4) + 1}000" for day in days]
    assert [stage.wide("_lsn", at=day)[0] for day in days] == wanted
    assert len(set(wanted)) > 2


def test_what_was_undone_is_not_told_as_done(stage):
    stage.write("state", "on", "T")
    stage.mapping = mapping(T="t")
    retry = Retry(stage.source, stage.target, stage.mapping)
    with armed(f"{Failpoint.RETRY_TAKEN_OUT}=error"), pytest.raises(Injected):
        retry.run(Choice("ships"))
    assert (retry.done.placed, stage.reasons()) == ([], ["unknown_discriminator"])


def test_bytes_that_are_no_record_of_ours_are_left_where_they_are(stage):
    stage.apply(b"{]")
    assert list(stage.retry().unread) == [1]
    assert stage.reasons() == ["undecodable_record"]


def test_each_record_that_is_not_retried_says_why_and_one_of_one_row_gets_its_place(stage):
    def record(*rows, connector="ships", table=TABLE):
        stamp = Stamp(connector, 1, 0, Lsn(0x108), 1, 0)
        return Changes(stamp, table, {"ship": "a", "at": AT}, COLUMNS, list(rows))

    for channel, value in {"speed": "1.5", "count": "2"}.items():
        stage.write(channel, value, stream=False)
    one, other = (["i", channel, "0", None, "F"] for channel in ("speed", "count"))
    kept = {
        encode(record(one)): None,
        encode(record(one, other)): "2 rows",
        AvroCodec(3).encode(record(one, other)): "2 rows",
        encode(record(one, connector="planes")): "planes",
        encode(record(one, table="tenant.others")): "tenant.others",
        encode(Barrier(record().stamp, "x")): "barrier",
        b"{]": "not JSON",
    }
    shelved = [undecodable(f"0:{n}", value, "undecodable_record", "by hand") for n, value in enumerate(kept)]
    quarantine.write(stage.target, "ships", shelved)
    retried = stage.retry()
    assert retried.placed == [1]
    assert stage.wide("speed") == ("1.5",)
    wanted = dict(enumerate(kept.values(), 1))
    assert {number: wanted[number] in why for number, why in retried.unread.items()} == dict.fromkeys(range(2, 8), True)


def test_what_is_discarded_is_kept_in_the_audit_log(stage):
    stage.write("state", "on\0".replace("\0", "x"), "T")
    stage.write("", "3")
    assert store.discard(stage.target, Choice("ships", reasons=["empty_key"])) == 1
    assert stage.reasons() == ["unknown_discriminator"]
    action, detail = stage.target.execute("SELECT action, detail FROM widebeam.audit").fetchone()
    assert action == "quarantine discard"
    assert '"row":["u","","3"' in detail["entries"][0]["raw"]


def discarded(stage):
    """How many entries went in each transaction, by the audit log."""
    query = "SELECT jsonb_array_length(detail -> 'entries') FROM widebeam.audit ORDER BY id"
    return [count for (count,) in stage.target.execute(query)]


def test_interrupted_at_each_step_a_discard_goes_on_from_its_last_batch(stage, monkeypatch):
    monkeypatch.setattr(store, "_AT_ONCE", 2)
    for channel in "abcdefg":
        stage.write(channel, "on", "T")
    with armed(f"{Failpoint.DISCARD_TAKEN_OUT}=error@2"), pytest.raises(Injected):
        store.discard(stage.target, Choice("ships"))
    assert (len(stage.reasons()), discarded(stage)) == (5, [2])
    with armed(f"{Failpoint.DISCARD_COMMITTED}=error"), pytest.raises(Injected):
        store.discard(stage.target, Choice("ships"))
    assert (len(stage.reasons()), discarded(stage)) == (3, [2, 2])
    with (
        connect(stage.dsn, autocommit=True) as lost,
        armed(f"{Failpoint.DISCARD_TAKEN_OUT}=cut"),
        pytest.raises(psycopg.OperationalError),
    ):
        store.discard(lost, Choice("ships"))
    until(lambda: len(stage.reasons()) == 1)  # the COMMIT was sent, and nobody heard the answer
    assert store.discard(stage.target, Choice("ships")) == 1
    assert (stage.reasons(), discarded(stage)) == ([], [2, 2, 2, 1])


def test_what_comes_after_somebody_was_asked_is_not_discarded(stage):
    stage.write("asked about", "on", "T")
    choice = store.as_of_now(stage.target, Choice("ships"))
    stage.write("too late", "on", "T")
    assert [heap.entries for heap in store.heaps(stage.target, choice)] == [1]
    assert store.discard(stage.target, choice) == 1
    assert [entry.id for entry in store.entries(stage.target, Choice("ships"))] == [2]


def test_a_discard_does_not_wait_for_a_lock_without_a_bound(stage):
    for channel in "ab":
        stage.write(channel, "on", "T")
    stage.target.execute("SET statement_timeout = '20s'")  # of the test, should it wait
    with connect(stage.dsn, application_name="somebody who looks") as other:
        other.execute("SELECT FROM widebeam.quarantine WHERE id = 2 FOR UPDATE")
        with pytest.raises(LockHeld, match=r"the quarantine of ships waits .* somebody who looks"):
            store.discard(stage.target, Choice("ships"), lock_patience=0.1)
    assert (len(stage.reasons()), discarded(stage)) == (2, [])
    assert stage.target.execute("SHOW lock_timeout").fetchone() == ("0",)
    assert store.discard(stage.target, Choice("ships")) == 2
