"""Frames of pgoutput made byte by byte, by the documentation of the message formats, and what rows may hold."""

from __future__ import annotations

from struct import pack

from hypothesis import strategies as st

from cdc.event import UNCHANGED, Begin, Column, Commit, Event, Insert, Inserts, Relation, Single, Value

OID = 16384
NAMES = ("ship", "channel", "at", "value")
RELATION = Relation(OID, "tenant", "readings", "d", tuple(Column(name, 25, -1, name != "value") for name in NAMES))

texts = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=300),
    st.sampled_from(["", "t", "n", "nt", "a" * 255, "b" * 256, "\\N", "\u20ac" * 90, "\U0001f6a2"]),
)
values = st.one_of(texts, st.none(), st.just(UNCHANGED))
rows = st.lists(values, min_size=4, max_size=4).map(tuple)


def cell(value: Value) -> bytes:
    if value is None:
        return b"n"
    if value is UNCHANGED:
        return b"u"
    return b"t" + pack(">I", len(value.encode())) + value.encode()


def tuple_data(row: tuple[Value, ...]) -> bytes:
    return pack(">H", len(row)) + b"".join(map(cell, row))


def relation_frame(relation: Relation = RELATION) -> bytes:
    head = b"R" + pack(">I", relation.oid) + f"{relation.schema}\0{relation.name}\0".encode()
    columns = (bytes([c.identity]) + c.name.encode() + b"\0" + pack(">Ii", c.type_oid, -1) for c in relation.columns)
    return head + relation.replica_identity.encode() + pack(">H", len(relation.columns)) + b"".join(columns)


BEGIN = b"B" + pack(">QqI", 0x16B374D848, 1, 77)
COMMIT = b"C\0" + pack(">QQq", 0x16B374D848, 0x16B374D880, 1)


def taken_apart(event: Event) -> list[Event]:
    """An event as the messages that it was read from."""
    match event:
        case Inserts(relation, rows):
            return [Insert(relation, row) for row in rows]
        case Single(lsn, time, xid, insert, end):
            return [Begin(lsn, time, xid), insert, Commit(lsn, end, time)]
    return [event]


def insert_frame(row: tuple[Value, ...]) -> bytes:
    return b"I" + pack(">I", OID) + b"N" + tuple_data(row)
