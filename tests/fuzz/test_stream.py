"""The decoder of the replication stream against frames that were right once: it decodes them or says `Undecodable`."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from struct import pack

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdc.event import Event, Insert
from cdc.wire.cursor import Undecodable
from cdc.wire.pgoutput import Decoder
from tests.cdc.frames import (
    BEGIN,
    COMMIT,
    OID,
    RELATION,
    insert_frame,
    relation_frame,
    rows,
    taken_apart,
    tuple_data,
)
from tests.fuzz.damage import damaged, little_memory

HEAD = pack(">I", OID)
AS_USUAL = insert_frame(("ship", "a", None, "1.5"))

frames = st.one_of(
    rows.map(insert_frame),
    rows.map(insert_frame),
    st.tuples(rows, rows).map(lambda both: b"U" + HEAD + b"O" + tuple_data(both[0]) + b"N" + tuple_data(both[1])),
    rows.map(lambda row: b"U" + HEAD + b"N" + tuple_data(row)),
    rows.map(lambda row: b"D" + HEAD + b"K" + tuple_data(row)),
    st.just(relation_frame()),
    st.just(relation_frame(RELATION._replace(columns=RELATION.columns[:2], name="other"))),
    st.just(b"B" + pack(">QqI", 0x16B374D848, 1, 77)),
    st.just(b"C\0" + pack(">QQq", 8, 16, -1)),
    st.just(b"O" + pack(">Q", 8) + b"upstream\0"),
    st.just(b"Y" + pack(">I", 99) + b"public\0mood\0"),
    st.just(b"T" + pack(">IBI", 1, 3, OID)),
    st.just(b"M\1" + pack(">Q", 8) + b"widebeam\0" + pack(">I", 3) + b"a\0b"),
)


def described() -> Decoder:
    decoder = Decoder()
    decoder.decode(relation_frame())
    return decoder


def state(decoder: Decoder) -> object:
    """What later frames are read by. (The pieces that it remembers are a cache.)"""
    return copy(decoder._relations), copy(decoder._quick)


@given(frame=damaged(frames))
@example(frame=b"R" + HEAD + b"s\0t\0d" + pack(">H", 0xFFFF))
@example(frame=relation_frame(RELATION._replace(columns=RELATION.columns[:2])) + b"\0")
@example(frame=b"T" + pack(">IB", 0xFFFFFFFF, 0) + HEAD)
def test_a_damaged_frame_is_decoded_or_refused_and_a_refused_one_leaves_no_trace(frame: bytes) -> None:
    decoder = described()
    before = state(decoder)
    try:
        with little_memory(len(frame)):
            decoder.decode(frame)
    except Undecodable as error:
        assert 0 <= error.offset <= len(frame)
        assert state(decoder) == before
        assert decoder.decode(AS_USUAL) == Insert(RELATION, ("ship", "a", None, "1.5"))


@given(
    stream=st.lists(frames | damaged(frames) | st.just(AS_USUAL) | rows.map(insert_frame), max_size=40),
    copies=st.integers(1, 30),
    single=st.sampled_from([BEGIN, AS_USUAL, COMMIT]).flatmap(lambda frame: damaged(st.just(frame))),
    place=st.integers(0, 17),
)
def test_a_damaged_stream_gives_what_the_careful_reader_sees_up_to_the_first_bad_frame(
    stream: list[bytes], copies: int, single: bytes, place: int
) -> None:
    singles = [BEGIN, AS_USUAL, COMMIT] * 3
    singles[place : place + 1] = [single] if place < len(singles) else []
    whole = singles + [AS_USUAL] * copies + stream + [AS_USUAL] * copies
    assert seen_together(described(), whole) == seen_one_by_one(described(), whole)


def seen_together(decoder: Decoder, stream: Sequence[bytes]) -> list[object]:
    found: list[object] = []
    try:
        for event, _ in decoder.events(stream):
            found += taken_apart(event)
    except Undecodable as error:
        found.append(str(error))
    return found


def seen_one_by_one(decoder: Decoder, stream: Sequence[bytes]) -> list[Event | str]:
    found: list[Event | str] = []
    try:
        for frame in stream:
            found.append(decoder._carefully(frame))  # noqa: PERF401  those before the bad one count
    except Undecodable as error:
        found.append(str(error))
    return found


@pytest.mark.parametrize("claim", [0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
@pytest.mark.parametrize("copies", [1, 40])
def test_a_text_that_claims_gigabytes_takes_none(claim: int, copies: int) -> None:
    row = b"I" + HEAD + b"N" + pack(">H", 4) + b"t\0\0\0\1a" + b"t" + pack(">I", claim) + b"abc" + b"nn"
    message = b"M\1" + bytes(8) + b"p\0" + pack(">I", claim) + b"abc"
    for frame in (row, message):
        stream = [frame] * copies
        with little_memory(len(frame) * copies), pytest.raises(Undecodable):
            list(described().events(stream))
