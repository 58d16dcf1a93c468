"""Frames made here byte by byte, by the documentation of the message formats; a real server's are in test_capture."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.event import (
    Begin,
    Column,
    Commit,
    Delete,
    Event,
    Insert,
    Inserts,
    Message,
    Origin,
    Relation,
    Single,
    Truncate,
    Type,
    Update,
    Value,
)
from cdc.lsn import Lsn
from cdc.wire.cursor import Undecodable
from cdc.wire.pgoutput import Decoder
from tests.cdc.frames import (
    BEGIN,
    COMMIT,
    OID,
    RELATION,
    cell,
    insert_frame,
    relation_frame,
    rows,
    taken_apart,
    texts,
    tuple_data,
)

UNIX_2000 = 946_684_800_000_000


@pytest.fixture
def decoder() -> Decoder:
    decoder = Decoder()
    decoder.decode(relation_frame())
    return decoder


def test_every_message_kind_but_rows_is_decoded() -> None:
    decoder = Decoder()
    pairs = [
        (b"B" + pack(">QqI", 0x16B374D848, 1, 77), Begin(Lsn.parse("16/B374D848"), UNIX_2000 + 1, 77)),
        (b"C\0" + pack(">QQq", 8, 16, -1), Commit(Lsn(8), Lsn(16), UNIX_2000 - 1)),
        (b"O" + pack(">Q", 8) + b"upstream\0", Origin(Lsn(8), "upstream")),
        (b"Y" + pack(">I", 99) + b"public\0mood\0", Type(99, "public", "mood")),
        (relation_frame(), RELATION),
        (b"T" + pack(">IBI", 1, 3, OID), Truncate((RELATION,), True, True)),
        (b"M\1" + pack(">Q", 8) + b"widebeam\0" + pack(">I", 3) + b"a\0b", Message(True, Lsn(8), "widebeam", b"a\0b")),
    ]
    for frame, event in pairs:
        assert decoder.decode(frame) == event


def test_of_a_message_that_is_too_long_only_the_size_is_told() -> None:
    frame = b"M\1" + pack(">Q", 8) + b"widebeam\0" + pack(">I", 2000) + b"x" * 2000
    assert Decoder().decode(frame) == Message(True, Lsn(8), "widebeam", b"", 2000)
    with pytest.raises(Undecodable):
        Decoder().decode(frame[:-1])


def test_an_empty_schema_is_pg_catalog() -> None:
    frame = b"R" + pack(">I", 7) + b"\0t\0d" + pack(">H", 0)
    assert Decoder().decode(frame) == Relation(7, "pg_catalog", "t", "d", ())


@given(row=rows, old=rows)
@settings(max_examples=150)
def test_any_row_comes_back_as_it_was(row: tuple[Value, ...], old: tuple[Value, ...]) -> None:
    decoder = Decoder()
    decoder.decode(relation_frame())
    oid, new, before = pack(">I", OID), tuple_data(row), tuple_data(old)
    for _ in range(2):  # the second time from the memory of pieces
        assert decoder.decode(b"I" + oid + b"N" + new) == Insert(RELATION, row)
        assert decoder.decode(b"U" + oid + b"N" + new) == Update(RELATION, None, False, row)
        assert decoder.decode(b"U" + oid + b"K" + before + b"N" + new) == Update(RELATION, old, False, row)
        assert decoder.decode(b"U" + oid + b"O" + before + b"N" + new) == Update(RELATION, old, True, row)
        assert decoder.decode(b"D" + oid + b"K" + before) == Delete(RELATION, old, False)
        assert decoder.decode(b"D" + oid + b"O" + before) == Delete(RELATION, old, True)


@given(row=rows, cut=st.integers(1, 2000), extra=st.binary(min_size=1, max_size=9))
@settings(max_examples=150)
def test_a_row_that_is_too_short_or_too_long_is_refused(row: tuple[Value, ...], cut: int, extra: bytes) -> None:
    decoder = Decoder()
    decoder.decode(relation_frame())
    frame = b"I" + pack(">I", OID) + b"N" + tuple_data(row)
    assert decoder.decode(frame) == Insert(RELATION, row)
    for broken in (frame[: -min(cut, len(frame) - 1)], frame + extra):
        with pytest.raises(Undecodable):
            decoder.decode(broken)


@given(row=rows, place=st.integers(0, 2000), byte=st.integers(0, 255))
@settings(max_examples=300)
def test_a_changed_byte_gives_the_row_that_the_careful_reader_sees_or_is_refused(
    row: tuple[Value, ...], place: int, byte: int
) -> None:
    quick, careful = Decoder(), Decoder()
    quick.decode(relation_frame())
    careful.decode(relation_frame())
    frame = bytearray(b"I" + pack(">I", OID) + b"N" + tuple_data(row))
    frame[place % len(frame)] = byte
    seen: list[object] = []
    for read in (quick.decode, careful._carefully):
        try:
            seen.append(read(bytes(frame)))
        except Undecodable as error:
            seen.append(str(error))
    assert seen[0] == seen[1]


@given(st.binary(max_size=80))
@settings(max_examples=200)
def test_any_bytes_are_decoded_or_refused_and_nothing_else(frame: bytes) -> None:
    decoder = Decoder()
    decoder.decode(relation_frame())
    try:
        decoder.decode(frame)
    except Undecodable as error:
        assert 0 <= error.offset <= len(frame)


@pytest.mark.parametrize(
    ("frame", "offset", "expected"),
    [
        (b"", 0, "a message kind"),
        (b"S" + bytes(8), 0, "not 'S'"),
        (b"B" + bytes(10), 9, "the commit time"),
        (b"B" + bytes(21), 21, "the end of the frame"),
        (b"C\1" + bytes(24), 1, "flags 0"),
        (b"M\2" + bytes(8), 1, "flags 0 or 1"),
        (b"M\1" + bytes(8) + b"p", 10, "ended by a NUL"),
        (b"M\1" + bytes(8) + b"p\0" + pack(">I", 5) + b"abc", 16, "the content (5 bytes)"),
        (b"O" + bytes(8) + b"\xff\0", 9, "in UTF-8"),
        (b"I" + pack(">I", 5) + b"N", 1, "described before, not OID 5"),
        (b"I" + pack(">I", OID) + b"K", 5, "the new row, one of N"),
        (b"I" + pack(">I", OID) + b"N" + pack(">H", 3) + b"nnn", 6, "a row of 4 columns"),
        (b"I" + pack(">I", OID) + b"N" + pack(">H", 4) + b"nnbn", 10, "not binary"),
        (b"I" + pack(">I", OID) + b"N" + pack(">H", 4) + b"nnxn", 10, "not 'x'"),
        (b"I" + pack(">I", OID) + b"N" + pack(">H", 4) + b"nnnt\0\0\0\2a\xff", 17, "a value of value in UTF-8"),
        (b"I" + pack(">I", OID) + b"N" + pack(">H", 4) + b"nnnt\0\0\0\3a\0b", 17, "without a NUL"),
        (b"T" + pack(">IBI", 2, 0, OID), 6, "2 relations"),
        (b"T" + pack(">IBI", 1, 4, OID), 5, "options of 0 to 3"),
        (b"R" + pack(">I", 1) + b"s\0t\0x", 9, "the replica identity"),
    ],
)
def test_what_is_not_right_is_named_with_its_place(decoder: Decoder, frame: bytes, offset: int, expected: str) -> None:
    with pytest.raises(Undecodable) as caught:
        decoder.decode(frame)
    assert (caught.value.offset, expected in caught.value.expected) == (offset, True), str(caught.value)


def one_by_one(events: Iterable[tuple[Event, int]]) -> list[Event]:
    """The events with each run of inserts, and each transaction of a single one, taken apart."""
    return [each for event, _ in events for each in taken_apart(event)]


common = st.tuples(st.sampled_from(["x", "yy", ""]), st.sampled_from("abc"), st.none() | texts, st.none() | texts)


@given(rows=st.lists(st.one_of(common, common, common, rows), min_size=1, max_size=60))
@settings(max_examples=150)
def test_many_frames_give_the_rows_that_each_of_them_gives(rows: list[tuple[Value, ...]]) -> None:
    decoder = Decoder()
    decoder.decode(relation_frame())
    frames = [insert_frame(row) for row in rows]
    assert one_by_one(decoder.events(frames)) == [Insert(RELATION, row) for row in rows]
    assert sum(size for _, size in decoder.events(frames)) == sum(map(len, frames))


def test_a_run_of_inserts_is_one_event_between_what_comes_before_and_after(decoder: Decoder) -> None:
    rows = [("ship", f"c{n}", None, str(n)) for n in range(2_500)]
    begin, commit = b"B" + pack(">QqI", 8, 1, 7), b"C\0" + pack(">QQq", 8, 16, 1)
    delete = b"D" + pack(">I", OID) + b"K" + tuple_data(rows[0])
    found = list(decoder.events([begin, *map(insert_frame, rows), delete, *map(insert_frame, rows[:3]), commit]))
    kinds = [type(event).__name__ for event, _ in found]
    assert kinds == ["Begin", "Inserts", "Inserts", "Inserts", "Delete", "Insert", "Insert", "Insert", "Commit"]
    assert [row for event, _ in found if isinstance(event, Inserts) for row in event.rows] == rows


@given(sizes=st.lists(st.integers(0, 3), min_size=1, max_size=12), cut=st.integers(1, 60))
def test_transactions_of_a_single_row_give_what_each_of_their_frames_gives(sizes: list[int], cut: int) -> None:
    together, careful = Decoder(), Decoder()
    together.decode(relation_frame())
    careful.decode(relation_frame())
    row = insert_frame(("ship", "a", None, "1.5"))
    frames = [frame for size in sizes for frame in (BEGIN, *[row] * size, COMMIT)]
    found = [pair for low in range(0, len(frames), cut) for pair in together.events(frames[low : low + cut])]
    assert one_by_one(found) == list(map(careful._carefully, frames))
    assert sum(size for _, size in found) == sum(map(len, frames))
    if cut >= len(frames):
        assert sum(isinstance(event, Single) for event, _ in found) == sizes.count(1)


def test_rows_of_another_width_in_a_run_are_not_taken_for_one_more_and_one_less(decoder: Decoder) -> None:
    """Three values and five make two rows of four, if nobody looks where each row ends."""
    good = insert_frame(("ship", "a", "t", "1"))
    short, long = (good[:8] + b"".join(map(cell, row)) for row in [("s", "a", "t"), ("s", "a", "t", "1", "2")])
    for broken in ([short, long], [long, short]):
        with pytest.raises(Undecodable):
            one_by_one(decoder.events([good] * 20 + broken + [good] * 20))


@given(row=common, place=st.integers(8, 2000), byte=st.integers(0, 255), among=st.integers(0, 19))
@settings(max_examples=300)
def test_a_changed_byte_in_a_run_gives_what_the_careful_reader_sees(
    row: tuple[Value, ...], place: int, byte: int, among: int
) -> None:
    frames = [insert_frame(("ship", "a", None, "1.5"))] * 20
    frame = bytearray(insert_frame(row))
    frame[place % len(frame)] = byte
    frames[among] = bytes(frame)
    together, careful = Decoder(), Decoder()
    together.decode(relation_frame())
    careful.decode(relation_frame())

    def seen(read: Callable[[], list[Event]]) -> object:
        try:
            return read()
        except Undecodable as error:
            return str(error)

    assert seen(lambda: one_by_one(together.events(frames))) == seen(lambda: list(map(careful._carefully, frames)))


def test_a_table_that_got_a_column_is_read_by_its_new_width(decoder: Decoder) -> None:
    row = ("s", "c", "t", "1")
    insert = b"I" + pack(">I", OID) + b"N"
    assert decoder.decode(insert + tuple_data(row)) == Insert(RELATION, row)
    wider = RELATION._replace(columns=(*RELATION.columns, Column("more", 25, -1, False)))
    decoder.decode(relation_frame(wider))
    assert decoder.decode(insert + tuple_data((*row, "2"))) == Insert(wider, (*row, "2"))
    with pytest.raises(Undecodable, match="a row of 5 columns"):
        decoder.decode(insert + tuple_data(row))


def test_the_memory_of_pieces_stays_bounded(decoder: Decoder) -> None:
    for number in range(40_000):
        decoder.decode(b"I" + pack(">I", OID) + b"N" + tuple_data(("s", "c", "t", str(number))))
    assert len(decoder._last) <= 16_384
