"""pgoutput frames become events: the messages of logical replication protocol version 1.

Source: PostgreSQL documentation, "Logical Replication Message Formats".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, takewhile
from operator import methodcaller
from struct import Struct
from typing import Final

from cdc.event import (
    MESSAGE_BYTES,
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
    Row,
    Single,
    Truncate,
    Type,
    Update,
)
from cdc.lsn import Lsn
from cdc.wire.cursor import Cursor, Undecodable, unix_microseconds
from cdc.wire.tuples import Irregular, Pieces, read_row, read_run

__all__ = ["Decoder", "Undecodable"]

_TEXT_HEAD: Final = b"t\0\0\0"
"""A first column that is a text of less than 256 bytes starts so, before the last byte of its length."""

_HEAD: Final = 12
"""Bytes before that text: the message's kind, relation, tuple kind and width; the first column's kind and length."""
_FEW: Final = 8
"""A shorter run of inserts is read row by row."""
_MANY: Final = 1_000
"""Rows that are read at once: one that is not regular among them sends them all the slower way."""

_BEGIN: Final = Struct(">xQqI")
_COMMIT: Final = Struct(">xxQQq")

_lsn: Final = int.__new__  # an Lsn from 64 unsigned bits, which needs no check
_new: Final = tuple.__new__  # makes a NamedTuple without the call of its Python-level __new__


class Decoder:
    """Decodes frames in order. Holds the relations that the server has described so far on this connection."""

    def __init__(self) -> None:
        self._relations: dict[int, Relation] = {}
        self._quick: dict[bytes, tuple[str, Relation, int]] = {}
        self._inner = Pieces(last=False)
        self._last = Pieces(last=True)
        self._readers: dict[int, Callable[[Cursor], Event]] = {
            ord("B"): self._begin,
            ord("C"): self._commit,
            ord("O"): self._origin,
            ord("R"): self._relation,
            ord("Y"): self._type,
            ord("I"): self._insert,
            ord("U"): self._update,
            ord("D"): self._delete,
            ord("T"): self._truncate,
            ord("M"): self._message,
        }

    def events(self, frames: Sequence[bytes]) -> Iterator[tuple[Event, int]]:
        """Every frame's event, and its bytes. Where that is faster, inserts that follow each other are one event, and
        so is a transaction of a single one."""
        low, last = 0, len(frames) - 1
        while low <= last:
            frame = frames[low]
            if frame.startswith(b"B") and low + 2 <= last and frames[low + 2].startswith(b"C"):
                single = self._single(frame, frames[low + 1], frames[low + 2])
                if single is not None:
                    yield single, _BEGIN.size + len(frames[low + 1]) + _COMMIT.size
                    low += 3
                    continue
            ahead = frames[min(low + _FEW, last)]
            if frame[:_HEAD] == ahead[:_HEAD] and frame is not ahead and self._is_insert(frame):
                run = list(takewhile(methodcaller("startswith", frame[:_HEAD]), islice(frames, low, low + _MANY)))
                yield from self._inserts(run)
                low += len(run)
            else:
                yield self.decode(frame), len(frame)
                low += 1

    def _single(self, first: bytes, row: bytes, last: bytes) -> Single | None:
        """The transaction in these frames, if they are one of a single insert with nothing unusual in it."""
        if len(first) != _BEGIN.size or len(last) != _COMMIT.size or last[1] or not self._is_insert(row):
            return None
        final_lsn, commit_time, xid = _BEGIN.unpack(first)
        commit_lsn, end_lsn, again = _COMMIT.unpack(last)
        if commit_lsn != final_lsn or again != commit_time:
            return None
        try:
            insert = self.decode(row)
        except Undecodable:  # which is said when its turn comes
            return None
        at = unix_microseconds(commit_time)
        return _new(Single, (_lsn(Lsn, final_lsn), at, xid, insert, _lsn(Lsn, end_lsn)))

    def _is_insert(self, frame: bytes) -> bool:
        known = self._quick.get(frame[:_HEAD])
        return known is not None and known[0] == "I"

    def _inserts(self, frames: list[bytes]) -> Iterator[tuple[Event, int]]:
        """The inserts in frames of the same head."""
        _, relation, width = self._quick[frames[0][:_HEAD]]
        try:
            yield _new(Inserts, (relation, read_run(frames, _HEAD, width))), sum(map(len, frames))
        except Irregular:
            for frame in frames:
                yield self.decode(frame), len(frame)

    def decode(self, frame: bytes) -> Event:
        """One frame's event; `Undecodable` if the frame is not one of protocol version 1.

        The quick way is for rows whose first column is a short text: their first 12 bytes say kind, relation,
        tuple kind and width at once, and are looked up as one. Whatever is not regular goes the careful way,
        which reads the frame from its start and finds out what is wrong with it, if anything is.
        """
        quick = self._quick.get(frame[:_HEAD])
        if quick is None:
            return _bracket(frame) or self._carefully(frame)
        kind, relation, width = quick
        pieces = frame[_HEAD:].split(b"\0\0\0")
        last = pieces.pop()
        values: list[str | None] = []
        inner = self._inner
        try:
            for piece in pieces:
                values += inner[piece]
            values += self._last[last]
        except Irregular:
            return self._carefully(frame)
        if len(values) != width:
            return self._carefully(frame)
        row = tuple(values)
        if kind == "I":
            return _new(Insert, (relation, row))
        if kind == "U":
            return _new(Update, (relation, None, False, row))
        return _new(Delete, (relation, row, False))

    def _carefully(self, frame: bytes) -> Event:
        cursor = Cursor(frame)
        kind = cursor.number(1, "a message kind")
        reader = self._readers.get(kind)
        if reader is None:
            cursor.fail(f"a message kind of protocol version 1, not {chr(kind)!r}", back=1)
        event = reader(cursor)
        cursor.end()
        if isinstance(event, Relation):  # not before its frame is known to be right to its end
            self._remember(event)
        return event

    def _begin(self, cursor: Cursor) -> Begin:
        return Begin(cursor.lsn("the final LSN"), cursor.time("the commit time"), cursor.number(4, "the xid"))

    def _commit(self, cursor: Cursor) -> Commit:
        if cursor.number(1, "the flags"):
            cursor.fail("flags 0", back=1)
        return Commit(cursor.lsn("the commit LSN"), cursor.lsn("the end LSN"), cursor.time("the commit time"))

    def _origin(self, cursor: Cursor) -> Origin:
        return Origin(cursor.lsn("the commit LSN"), cursor.string("the origin's name"))

    def _type(self, cursor: Cursor) -> Type:
        return Type(cursor.number(4, "the type's OID"), cursor.string("a schema"), cursor.string("a type's name"))

    def _relation(self, cursor: Cursor) -> Relation:
        oid = cursor.number(4, "the relation's OID")
        schema = cursor.string("a schema") or "pg_catalog"
        name = cursor.string("a relation's name")
        identity = cursor.letter("dnfi", "the replica identity")
        columns = tuple(self._column(cursor) for _ in range(cursor.number(2, "the number of columns")))
        return Relation(oid, schema, name, identity, columns)

    def _column(self, cursor: Cursor) -> Column:
        flags = cursor.number(1, "a column's flags")
        if flags > 1:
            cursor.fail("a column's flags, 0 or 1", back=1)
        name = cursor.string("a column's name")
        return Column(name, cursor.number(4, "a type's OID"), cursor.signed(4, "a type modifier"), flags == 1)

    def _remember(self, relation: Relation) -> None:
        self._relations[relation.oid] = relation
        oid, width = relation.oid.to_bytes(4, "big"), len(relation.columns).to_bytes(2, "big")
        # A server's OID stands for one table only, but its width changes with its columns.
        self._quick = {head: known for head, known in self._quick.items() if known[1].oid != relation.oid}
        for kind, tuple_kind in (("I", b"N"), ("U", b"N"), ("D", b"K")):
            self._quick[kind.encode() + oid + tuple_kind + width + _TEXT_HEAD] = (kind, relation, len(relation.columns))

    def _known(self, cursor: Cursor) -> Relation:
        oid = cursor.number(4, "a relation's OID")
        relation = self._relations.get(oid)
        if relation is None:
            cursor.fail(f"a relation that was described before, not OID {oid}", back=4)
        return relation

    def _insert(self, cursor: Cursor) -> Insert:
        relation = self._known(cursor)
        cursor.letter("N", "the new row")
        return Insert(relation, read_row(cursor, relation))

    def _update(self, cursor: Cursor) -> Update:
        relation = self._known(cursor)
        kind = cursor.letter("KON", "an old or new row")
        old: Row | None = None
        if kind != "N":
            old = read_row(cursor, relation)
            cursor.letter("N", "the new row")
        return Update(relation, old, kind == "O", read_row(cursor, relation))

    def _delete(self, cursor: Cursor) -> Delete:
        relation = self._known(cursor)
        kind = cursor.letter("KO", "the old row")
        return Delete(relation, read_row(cursor, relation), kind == "O")

    def _truncate(self, cursor: Cursor) -> Truncate:
        count = cursor.number(4, "the number of relations")
        options = cursor.number(1, "the options")
        if options > 3:
            cursor.fail("options of 0 to 3", back=1)
        if count * 4 != cursor.left:
            cursor.fail(f"{count} relations, 4 bytes each, not {cursor.left} bytes")
        relations = tuple(self._known(cursor) for _ in range(count))
        return Truncate(relations, bool(options & 1), bool(options & 2))

    def _message(self, cursor: Cursor) -> Message:
        flags = cursor.number(1, "the flags")
        if flags > 1:
            cursor.fail("flags 0 or 1", back=1)
        lsn, prefix = cursor.lsn("the message's LSN"), cursor.string("the message's prefix")
        size = cursor.number(4, "the content's length")
        if size > MESSAGE_BYTES and size == cursor.left:
            cursor.skip()
            return Message(flags == 1, lsn, prefix, b"", size)
        return Message(flags == 1, lsn, prefix, cursor.take(size, "the content"))


def _bracket(frame: bytes) -> Begin | Commit | None:
    """A transaction's begin or commit, if the frame is one of the right length: of small ones there are many."""
    if len(frame) == _BEGIN.size and frame.startswith(b"B"):
        final_lsn, commit_time, xid = _BEGIN.unpack(frame)
        return _new(Begin, (_lsn(Lsn, final_lsn), unix_microseconds(commit_time), xid))
    if len(frame) == _COMMIT.size and frame.startswith(b"C\0"):
        commit_lsn, end_lsn, commit_time = _COMMIT.unpack(frame)
        return _new(Commit, (_lsn(Lsn, commit_lsn), _lsn(Lsn, end_lsn), unix_microseconds(commit_time)))
    return None
