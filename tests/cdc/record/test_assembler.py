from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.event import (
    UNCHANGED,
    Begin,
    Commit,
    Delete,
    Event,
    Insert,
    Inserts,
    Message,
    Origin,
    Relation,
    Row,
    Single,
    Truncate,
    Type,
    Update,
    Value,
)
from cdc.halt import Cause, Halt
from cdc.lsn import Lsn
from cdc.record.assembler import Assembler
from cdc.record.numbering import Draft, Numbering
from cdc.record.partition import partition
from cdc.record.record import Barrier, Changes, Truncated
from cdc.source.narrow import NarrowTable
from tests.cdc.mapped import OTHER, READINGS, TABLE, relation

FULL = relation(kind="f")


def row(ship: Value, at: Value, channel: Value, v: Value = None, s: Value = None) -> Row:
    return ("1", channel, ship, v, at, s)


class Rows:
    """A source that knows one row."""

    def __init__(self, carried: Row | None = None) -> None:
        self.carried = carried
        self.asked: list[tuple[NarrowTable, Row, int]] = []

    def read(self, table: NarrowTable, cell: Row, xid: int) -> Row | None:
        self.asked.append((table, cell, xid))
        return self.carried


def assembler(
    *, partitions: int = 3, source: Rows | None = None, most_rows: int = 10_000, most_bytes: int = 1 << 20
) -> Assembler:
    return Assembler(
        [TABLE, OTHER], Numbering("c", 5, partitions), source or Rows(), most_rows=most_rows, most_bytes=most_bytes
    )


def transaction(events: Iterable[Event], lsn: int = 800, xid: int = 7) -> list[Event]:
    return [Begin(Lsn(lsn), 1000 + lsn, xid), *events, Commit(Lsn(lsn), Lsn(lsn + 40), 1000 + lsn)]


def drafts(at: Assembler, events: Iterable[Event], size: int = 0) -> list[Draft]:
    return [draft for event in events for draft in at.take(event, size)]


def rows_by_wide(found: Sequence[Draft]) -> list[tuple[tuple[str | None, ...], list[list[Value]]]]:
    return [(tuple(d.record.wide.values()), d.record.rows) for d in found if isinstance(d.record, Changes)]


def test_the_changes_of_a_transaction_are_grouped_by_wide_key_in_order() -> None:
    inserts = [Insert(READINGS, row(ship, "t", channel, "1")) for channel in "abc" for ship in ("x", "y")]
    found = drafts(assembler(), [READINGS, *transaction(inserts)])
    assert rows_by_wide(found) == [
        (("x", "t"), [["i", "a", "1", None], ["i", "b", "1", None], ["i", "c", "1", None]]),
        (("y", "t"), [["i", "a", "1", None], ["i", "b", "1", None], ["i", "c", "1", None]]),
    ]
    record = found[0].record
    assert isinstance(record, Changes)
    assert (record.table, record.columns, list(record.wide)) == (
        "tenant.readings",
        ["channel", "v", "s"],
        ["ship", "at"],
    )
    assert record.stamp == ("c", 5, 0, Lsn(800), 7, 1800)
    assert found[0].key == b'["x","t"]'
    assert found[0].partition == partition(b'["x","t"]', 3)


@given(
    ships=st.lists(st.sampled_from("xyz"), min_size=1, max_size=30),
    cuts=st.sets(st.integers(1, 29), max_size=4),
    most=st.integers(1, 40),
)
def test_inserts_that_come_together_make_what_they_make_one_by_one(ships: list[str], cuts: set[int], most: int) -> None:
    new = [row(ship, "t", f"c{n}", "1") for n, ship in enumerate(ships)]
    borders = sorted({0, len(new), *(cut for cut in cuts if cut < len(new))})
    runs = [Inserts(READINGS, new[low:high]) for low, high in pairwise(borders)]

    def made(events: list[Event]) -> dict[tuple[str | None, ...], list[list[Value]]]:
        found: dict[tuple[str | None, ...], list[list[Value]]] = {}
        for wide, rows in rows_by_wide(drafts(assembler(most_rows=most), [READINGS, *transaction(events)])):
            found.setdefault(wide, []).extend(rows)
        return found

    assert made(list(runs)) == made([Insert(READINGS, each) for each in new])


def single(begin: Event, insert: Event, commit: Event) -> Single:
    """The transaction of these three, as one event."""
    assert isinstance(begin, Begin)
    assert isinstance(insert, Insert)
    assert isinstance(commit, Commit)
    return Single(*begin, insert, commit.end_lsn)


def test_a_transaction_of_a_single_row_makes_what_its_events_make_one_by_one() -> None:
    others = relation(OTHER, oid=2)
    rows = [(READINGS, "x"), (others, "x"), (others, "y"), (relation(replace(TABLE, name="not ours"), oid=3), "x")]
    each = [transaction([Insert(of, row(ship, "t", "a", "1"))], 800 * n) for n, (of, ship) in enumerate(rows * 2, 1)]
    described: list[Event] = [of for of, _ in rows]
    singles = [single(*events) for events in each]
    expected = drafts(assembler(), [*described, *chain.from_iterable(each)])
    assert len(expected) == 6
    assert drafts(assembler(), [*described, *singles]) == expected
    mixed = [event for n in range(len(each)) for event in (each[n] if n % 3 else [singles[n]])]
    assert drafts(assembler(), [*described, *mixed]) == expected


def test_a_transaction_of_a_single_row_within_another_halts() -> None:
    events = transaction([Insert(READINGS, row("x", "t", "a"))])
    with pytest.raises(Halt) as caught:
        drafts(assembler(), [READINGS, events[0], single(*events)])
    assert caught.value.cause is Cause.UNDECODABLE_STREAM


def test_sequences_count_from_zero_in_each_partition() -> None:
    inserts = [Insert(READINGS, row(f"ship{n}", "t", "a")) for n in range(40)]
    seen: dict[int, int] = {}
    for number, _, record in drafts(assembler(), [READINGS, *transaction(inserts), *transaction(inserts, 1600)]):
        assert record.stamp.sequence == seen.get(number, -1) + 1
        seen[number] = record.stamp.sequence
    assert set(seen) == {0, 1, 2}


@pytest.mark.parametrize(("limits", "most"), [({"most_rows": 10}, 10), ({"most_bytes": 1000}, 10)])
def test_a_big_transaction_is_cut_and_memory_stays_flat(limits: dict[str, int], most: int) -> None:
    at = assembler(**limits)
    at.take(READINGS)
    at.take(Begin(Lsn(8), 0, 1))
    total = 0
    for number in range(95):
        found = at.take(Insert(READINGS, row("x", "t", str(number))), 100)
        lengths = [len(rows) for _, rows in rows_by_wide(found)]
        assert lengths in ([], [most])
        total += sum(lengths)
    assert total == 90
    assert [len(rows) for _, rows in rows_by_wide(at.take(Commit(Lsn(8), Lsn(16), 0)))] == [5]


def test_updates_and_deletes_say_their_op() -> None:
    found = drafts(
        assembler(),
        [
            READINGS,
            *transaction(
                [
                    Update(READINGS, None, False, row("x", "t", "a", "2", UNCHANGED)),
                    Delete(READINGS, row("x", "t", "a"), False),
                ]
            ),
        ],
    )
    assert rows_by_wide(found) == [(("x", "t"), [["u", "a", "2", UNCHANGED], ["d", "a", None, None]])]


def test_a_move_leaves_the_old_place_and_is_an_update_at_the_new_one() -> None:
    move = Update(READINGS, row("x", "t", "a"), False, row("y", "t", "b", "2"))
    found = drafts(assembler(), [READINGS, *transaction([move])])
    assert rows_by_wide(found) == [
        (("x", "t"), [["m", "a", None, None]]),
        (("y", "t"), [["u", "b", "2", None]]),
    ]


def test_an_update_with_a_full_old_row_is_no_move_when_the_cell_stays() -> None:
    update = Update(FULL, row("x", "t", "a", "1", "old"), True, row("x", "t", "a", "2", UNCHANGED))
    found = drafts(assembler(), [FULL, *transaction([update])])
    assert rows_by_wide(found) == [(("x", "t"), [["u", "a", "2", "old"]])]


def test_a_move_takes_an_unchanged_value_from_a_full_old_row() -> None:
    source = Rows()
    move = Update(FULL, row("x", "t", "a", "1", "old"), True, row("x", "u", "a", "2", UNCHANGED))
    found = drafts(assembler(source=source), [FULL, *transaction([move])])
    assert rows_by_wide(found) == [
        (("x", "t"), [["m", "a", "1", "old"]]),
        (("x", "u"), [["u", "a", "2", "old"]]),
    ]
    assert source.asked == []


@pytest.mark.parametrize(("known", "carried"), [(("b", "3", "s"), ["b", "3", "s"]), (None, ["b", "2", UNCHANGED])])
def test_a_move_without_a_full_old_row_asks_the_source_for_an_unchanged_value(
    known: Row | None, carried: list[Value]
) -> None:
    source = Rows(known)
    move = Update(READINGS, row("x", "t", "a"), False, row("x", "u", "b", "2", UNCHANGED))
    found = drafts(assembler(source=source), [READINGS, *transaction([move], xid=99)])
    assert source.asked == [(TABLE, ("x", "u", "b"), 99)]
    assert rows_by_wide(found)[1] == (("x", "u"), [["u", *carried]])


def test_an_unchanged_cell_column_is_taken_from_the_old_key() -> None:
    update = Update(READINGS, row("long", "t", "a"), False, row(UNCHANGED, "t", "a", "2"))
    found = drafts(assembler(), [READINGS, *transaction([update])])
    assert rows_by_wide(found) == [(("long", "t"), [["u", "a", "2", None]])]


def test_an_unknown_cell_halts() -> None:
    halted(Cause.REPLICA_IDENTITY, [READINGS, *transaction([Update(READINGS, None, False, row(UNCHANGED, "t", "a"))])])


BY_ID = READINGS._replace(columns=tuple(each._replace(identity=each.name == "id") for each in READINGS.columns))
"""The table while its replica identity did not hold the cell."""


@pytest.mark.parametrize(
    "event",
    [Update(BY_ID, None, False, row("x", "t", "a")), Delete(BY_ID, row(None, None, None), False)],
    ids=["update", "delete"],
)
def test_a_change_under_an_identity_that_lacked_the_cell_halts_and_says_the_way_over(event: Event) -> None:
    """An update's old row was not sent, since its id was the same: which cell it left, nobody knows."""
    halt = halted(Cause.REPLICA_IDENTITY, [BY_ID, *transaction([event])])
    assert "lacked ship, at, channel then" in halt.what
    assert "`widebeam check" in halt.remedy
    assert "--backfill-gap" in halt.remedy


def test_an_insert_says_its_cell_whatever_the_identity_was() -> None:
    found = drafts(assembler(), [BY_ID, *transaction([Insert(BY_ID, row("x", "t", "a", "1"))])])
    assert rows_by_wide(found) == [(("x", "t"), [["i", "a", "1", None]])]


def test_an_old_key_that_lacks_the_cell_halts() -> None:
    halted(Cause.REPLICA_IDENTITY, [READINGS, *transaction([Delete(READINGS, row("x", None, "a"), False)])])


def test_null_in_a_wide_column_is_carried() -> None:
    found = drafts(assembler(), [FULL, *transaction([Insert(FULL, row(None, "t", "a", "1"))])])
    assert rows_by_wide(found) == [((None, "t"), [["i", "a", "1", None]])]
    assert found[0].key == b'[null,"t"]'


def test_other_tables_types_and_origins_are_passed_over() -> None:
    stranger = Relation(9, "public", "stranger", "n", ())
    events = [Origin(Lsn(8), "o"), stranger, Type(1, "a", "b"), Insert(stranger, ()), Delete(stranger, (), False)]
    assert drafts(assembler(), transaction([*events, Truncate((stranger,), False, False)])) == []


def test_order_is_kept_between_two_tables() -> None:
    others = relation(OTHER, oid=2)
    stranger = Relation(9, "public", "stranger", "n", ())
    inserts = [(READINGS, "1"), (others, "2"), (stranger, "9"), (READINGS, "3"), (READINGS, "4")]
    events = [Insert(r, () if r is stranger else row("x", "t", "a", v)) for r, v in inserts]
    found = drafts(assembler(), [READINGS, others, stranger, *transaction(events)])
    assert [(d.record.table, [r[2] for r in d.record.rows]) for d in found if isinstance(d.record, Changes)] == [
        ("tenant.readings", ["1"]),
        ("tenant.others", ["2"]),
        ("tenant.readings", ["3", "4"]),
    ]


def test_a_truncate_stands_in_every_partition_and_raises_the_position() -> None:
    one = Insert(READINGS, row("x", "t", "a"))
    truncate = Truncate((READINGS, Relation(9, "public", "stranger", "n", ())), False, False)
    found = drafts(assembler(), [READINGS, *transaction([one, truncate, one, truncate, one], lsn=800)])
    kinds = [(type(d.record), d.record.stamp.position - 800) for d in found]
    assert kinds == [(Changes, 0), *[(Truncated, 1)] * 3, (Changes, 1), *[(Truncated, 2)] * 3, (Changes, 2)]
    assert {(d.partition, d.key) for d in found if isinstance(d.record, Truncated)} == {(0, None), (1, None), (2, None)}
    assert all(d.record.tables == ["tenant.readings"] for d in found if isinstance(d.record, Truncated))


def test_positions_start_anew_with_each_transaction() -> None:
    truncate = Truncate((READINGS,), False, False)
    at = assembler(partitions=1)
    found = drafts(at, [READINGS, *transaction([truncate] * 7, 800), *transaction([truncate], 1600)])
    assert [d.record.stamp.position for d in found] == [*range(801, 808), 1601]


def test_an_eighth_truncate_in_a_transaction_halts() -> None:
    halted(Cause.TRUNCATE, [READINGS, *transaction([Truncate((READINGS,), False, False)] * 8)])


def test_our_transactional_message_becomes_a_barrier_in_every_partition() -> None:
    one = Insert(READINGS, row("x", "t", "a"))
    messages = [
        Message(True, Lsn(8), "widebeam", b"mark"),
        Message(False, Lsn(8), "widebeam", b"not in order"),
        Message(True, Lsn(8), "somebody", b"else"),
    ]
    found = drafts(assembler(), [READINGS, *transaction([one, *messages, one])])
    assert [type(d.record) for d in found] == [Changes, Barrier, Barrier, Barrier, Changes]
    assert [d.record.content for d in found if isinstance(d.record, Barrier)] == ["mark"] * 3


def test_a_message_of_ours_that_is_too_long_or_the_second_of_its_transaction_is_ignored_and_counted() -> None:
    one = Insert(READINGS, row("x", "t", "a"))
    made = assembler()
    long = Message(True, Lsn(8), "widebeam", b"", 60_000_000)
    again = [Message(True, Lsn(8), "widebeam", b"mark")] * 3
    found = drafts(made, [READINGS, *transaction([one, long, one])])
    assert [type(d.record) for d in found] == [Changes]
    found = drafts(made, transaction(again, lsn=1600))
    assert [type(d.record) for d in found] == [Barrier, Barrier, Barrier]
    assert made.ignored == 3


def halted(cause: Cause, events: Iterable[Event]) -> Halt:
    with pytest.raises(Halt) as caught:
        drafts(assembler(), events)
    assert caught.value.cause is cause
    return caught.value


def test_a_relation_is_held_against_the_oid_that_was_written_down() -> None:
    at = Assembler([TABLE], Numbering("c", 5, 3), Rows(), oids={TABLE.qualified: 2})
    with pytest.raises(Halt, match=r"another table \(OID 1\)"):
        at.take(READINGS)


def test_the_same_relation_again_is_taken() -> None:
    inserts = [Insert(READINGS, row("x", "t", "a")), relation(), Insert(relation(), row("x", "t", "b"))]
    assert len(drafts(assembler(), [READINGS, *transaction(inserts)])) == 1


@pytest.mark.parametrize(
    "events",
    [
        [READINGS, Insert(READINGS, row("x", "t", "a")), Commit(Lsn(8), Lsn(8), 0)],
        [Begin(Lsn(8), 0, 1), Begin(Lsn(16), 0, 2)],
        [Begin(Lsn(8), 0, 1), Commit(Lsn(16), Lsn(24), 0)],
        [Begin(Lsn(8), 0, 1), Insert(READINGS, row("x", "t", "a"))],
    ],
    ids=["row outside", "begin in begin", "commit of another", "row before its relation"],
)
def test_a_stream_out_of_order_halts(events: list[Event]) -> None:
    halted(Cause.UNDECODABLE_STREAM, events)


cells = st.tuples(st.sampled_from("xy"), st.sampled_from("tu"), st.sampled_from("abc"))
actions = st.one_of(
    st.tuples(st.just("set"), cells, st.integers(0, 99)),
    st.tuples(st.just("delete"), cells, st.just(0)),
    st.tuples(st.just("move"), st.tuples(cells, cells), st.integers(0, 99)),
    st.tuples(st.just("truncate"), st.just(None), st.just(0)),
)


@given(
    batches=st.lists(st.lists(actions, max_size=7), max_size=6),
    most_rows=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=200)
def test_replaying_the_drafts_in_any_interleaving_gives_the_final_cells(
    batches: list[list[tuple[str, tuple[object, ...], int]]], most_rows: int, seed: int
) -> None:
    at, state, found = assembler(most_rows=most_rows), {}, list[Draft]()
    at.take(FULL)
    for number, batch in enumerate(batches, 1):
        events: list[Event] = []
        for kind, where, v in batch:
            events += source_event(state, kind, where, str(v))
        found += drafts(at, transaction(events, lsn=number * 8))
    assert replay(found, random.Random(seed)) == state


def source_event(state: dict[Row, str], kind: str, where: tuple, v: str) -> list[Event]:
    """What the source would say to this action, and its effect on `state`."""
    match kind:
        case "truncate":
            state.clear()
            return [Truncate((FULL,), False, False)]
        case "set":
            old = state.get(where)
            state[where] = v
            new = row(*where, v)
            return [Insert(FULL, new)] if old is None else [Update(FULL, row(*where, old), True, new)]
        case "delete" if where in state:
            return [Delete(FULL, row(*where, state.pop(where)), True)]
        case "move" if where[0] in state and (where[1] not in state or where[0] == where[1]):
            old = state.pop(where[0])
            state[where[1]] = v
            return [Update(FULL, row(*where[0], old), True, row(*where[1], v))]
    return []


def replay(found: Sequence[Draft], chance: random.Random) -> dict[Row, str]:
    """Partitions one after the other in any interleaving; a truncate clears what was written below its position."""
    queues = [[d.record for d in found if d.partition == number] for number in range(3)]
    cells: dict[Row, tuple[int, str]] = {}
    while any(queues):
        record = chance.choice([queue for queue in queues if queue]).pop(0)
        position = record.stamp.position
        if isinstance(record, Truncated):
            cells = {cell: kept for cell, kept in cells.items() if kept[0] >= position}
        elif isinstance(record, Changes):
            for op, channel, v, _ in record.rows:
                cell = (record.wide["ship"], record.wide["at"], channel)
                if op in ("d", "m"):
                    cells.pop(cell, None)
                else:
                    cells[cell] = (position, v)
    return {cell: v for cell, (_, v) in cells.items()}
