"""Events become change records: the changes of a transaction, grouped by wide key, numbered in each partition."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias, cast

from cdc.event import (
    Begin,
    Commit,
    Delete,
    Event,
    Insert,
    Inserts,
    Message,
    Relation,
    Row,
    Single,
    Truncate,
    Update,
    Value,
)
from cdc.halt import OVER_THE_GAP, Cause, Halt
from cdc.lsn import Lsn
from cdc.record.change import RowSource, deleted, updated
from cdc.record.envelope import encode_key
from cdc.record.layout import Layout
from cdc.record.numbering import Draft, Numbering
from cdc.record.partition import partition
from cdc.record.record import Barrier, Changes, Record, Stamp, Truncated
from cdc.record.relations import Family, Relations, Vouch
from cdc.source.narrow import NarrowTable

__all__ = ["MESSAGE_PREFIX", "Assembler", "Draft", "Numbering"]

MESSAGE_PREFIX: Final = "widebeam"
"""pg_logical_emit_message(true, this, ...) makes a barrier, one a transaction, of MESSAGE_BYTES at the most."""
_TRUNCATES: Final = 7
"""Commit LSNs are multiples of 8, and each truncate of a transaction adds one to the position."""

_PLACES: Final = 16_384
"""Wide keys whose place is remembered, of those that have _LONG bytes at most."""
_LONG: Final = 1024
_Place: TypeAlias = "tuple[int, bytes, dict[str, str | None]]"

_new: Final = tuple.__new__  # makes a NamedTuple without the call of its Python-level __new__


class Assembler:
    """Takes events in order, answers drafts in order. Holds at most one transaction's last `most_rows` changes.

    A transaction with more of them, or with more than `most_bytes` of frames, is cut into several records a wide
    key; memory stays flat however big it is. (Rows that come in one event are not cut apart.)
    """

    def __init__(
        self,
        tables: Iterable[NarrowTable],
        numbering: Numbering,
        source: RowSource,
        *,
        family: Family | None = None,
        oids: Mapping[str, int] | None = None,
        vouch: Vouch | None = None,
        most_rows: int = 10_000,
        most_bytes: int = 2 * 1024 * 1024,
    ) -> None:
        self._relations = Relations(tables, family, oids, vouch)
        self._layouts = self._relations.layouts
        self._numbering = numbering
        self._source = source
        self._most_rows = most_rows
        self._most_bytes = most_bytes
        self._relation: Relation | None = None  # that of the last row, and its layout
        self._layout: Layout | None = None
        self._grouped: NarrowTable | None = None  # whose rows are in the groups; its name, and what they carry
        self._name = ""
        self._columns: list[str] = []
        self._groups: defaultdict[Row, list[list[Value]]] = defaultdict(list)
        self._rows = 0
        self._bytes = 0
        self._begin: Begin | Single | None = None
        self._position = Lsn(0)
        self._places: dict[Row, _Place] = {}
        self._barred: Lsn | None = None  # the transaction that has had its barrier
        self.ignored = 0
        """Messages with our prefix that are no barriers. Anybody who may connect to the source can emit them."""

    def take(self, event: Event, size: int = 0) -> Sequence[Draft]:
        """What became ready by `event`, whose frames had `size` bytes. Inserts come first: they are nearly all."""
        if isinstance(event, Single):
            return self._whole(event)
        if isinstance(event, Inserts):
            return self._insert(event, size)
        if not isinstance(event, Insert):
            return self._other(event, size)
        relation, new = event
        drafts = self._switch(relation) if relation is not self._relation else ()
        at = self._layout
        if at is None:
            return drafts
        self._groups[at.wide(new)].append(["i", *at.carried(new)])
        return self._grown(1, size, drafts)

    def _whole(self, event: Single) -> Sequence[Draft]:
        """A transaction of one row, which is not put into the buffer first: that is empty between transactions."""
        relation, new = event.insert
        self._start(event)
        if relation is not self._relation:
            self._switch(relation)
        self._begin, at = None, self._layout
        return () if at is None else (self._draft(event, at.wide(new), [["i", *at.carried(new)]]),)

    def _insert(self, event: Inserts, size: int) -> Sequence[Draft]:
        """Many rows of one relation, without a step of the interpreter's for each that is not for the row itself."""
        drafts = self._switch(event.relation)
        at, groups = self._layout, self._groups
        if at is None:
            return drafts
        for wide, carried in zip(map(at.wide, event.rows), map(at.carried, event.rows), strict=True):
            groups[wide].append(["i", *carried])
        return self._grown(len(event.rows), size, drafts)

    def _grown(self, rows: int, size: int, drafts: Sequence[Draft]) -> Sequence[Draft]:
        """So much more is in the buffer, and these drafts are ready already."""
        self._rows += rows
        self._bytes += size
        if self._rows >= self._most_rows or self._bytes >= self._most_bytes:
            return [*drafts, *self._flush()]
        return drafts

    def _other(self, event: Event, size: int) -> Sequence[Draft]:
        match event:
            case Begin():
                self._start(event)
            case Commit():
                return self._finish(event)
            case Relation():
                self._relations.describe(event)
            case Update() | Delete():
                return [*self._switch(event.relation), *self._change(event, size)]
            case Truncate():
                return self._truncate(event)
            case Message():
                return self._barrier(event)
        return ()  # Origin and Type say nothing that a record carries

    def _start(self, begin: Begin | Single) -> None:
        if self._begin is not None:
            raise _astray(f"a transaction began at {begin.final_lsn} within {self._begin}")
        self._begin = begin
        self._position = begin.final_lsn

    def _finish(self, commit: Commit) -> Sequence[Draft]:
        if self._begin is None or self._begin.final_lsn != commit.commit_lsn:
            raise _astray(f"the commit of {commit.commit_lsn} came within {self._begin}")
        drafts = self._flush()
        self._begin = None
        return drafts

    def _switch(self, relation: Relation) -> Sequence[Draft]:
        """Make `relation` the present one. What is buffered of another table goes first, so that order is kept."""
        if relation is self._relation:
            return ()
        if relation.oid not in self._layouts:
            raise _astray(f"a row of {relation.schema}.{relation.name} came before its description")
        self._relation = relation
        self._layout = self._layouts[relation.oid]
        if self._layout is None or self._layout.table is self._grouped:
            return ()
        drafts = self._flush()
        table = self._grouped = self._layout.table
        self._name, self._columns = table.qualified, list(table.carried)
        self._places.clear()  # another table may name its wide columns otherwise
        return drafts

    def _change(self, event: Update | Delete, size: int) -> Sequence[Draft]:
        at = self._layout
        if at is None:
            return ()
        if isinstance(event, Delete):
            changes = [deleted(event, at)]
        else:
            changes = updated(event, at, self._source, self._open().xid)
        for wide, row in changes:
            self._groups[wide].append(row)
        return self._grown(len(changes), size, ())

    def _truncate(self, event: Truncate) -> Sequence[Draft]:
        layouts = [self._layouts.get(relation.oid) for relation in event.relations]
        tables = [at.table.qualified for at in layouts if at is not None]
        if not tables:
            return ()
        drafts = self._flush()
        self._position = Lsn(self._position + 1)
        begin = self._open()
        if self._position - begin.final_lsn > _TRUNCATES:
            raise Halt(
                Cause.TRUNCATE,
                f"more than {_TRUNCATES} truncates of {', '.join(tables)} in the transaction of {begin.final_lsn}",
                OVER_THE_GAP,
            )
        return [*drafts, *self._everywhere(lambda stamp: Truncated(stamp, tables))]

    def _barrier(self, event: Message) -> Sequence[Draft]:
        if not event.transactional or event.prefix != MESSAGE_PREFIX:
            return ()
        if event.size or self._barred == self._open().final_lsn:
            self.ignored += 1  # another one of the transaction says nothing more, since its place is the commit's
            return ()
        self._barred = self._open().final_lsn
        content = event.content.decode(errors="replace")
        return [*self._flush(), *self._everywhere(lambda stamp: Barrier(stamp, content))]

    def _everywhere(self, make: Callable[[Stamp], Record]) -> list[Draft]:
        """One record in every partition."""
        begin = self._open()
        return [Draft(number, None, make(self._stamp(begin, number))) for number in range(self._numbering.partitions)]

    def _flush(self) -> Sequence[Draft]:
        """A record for each wide key in the buffer, which is empty afterwards."""
        if not self._groups:
            return ()
        begin = self._open()
        drafts = [self._draft(begin, wide, rows) for wide, rows in self._groups.items()]
        self._groups.clear()
        self._rows = self._bytes = 0
        return drafts

    def _draft(self, begin: Begin | Single, wide: Row, rows: list[list[Value]]) -> Draft:
        """The record of these rows of one wide key."""
        number, key, named = self._places.get(wide) or self._place(wide)
        changes = _new(Changes, (self._stamp(begin, number), self._name, named, self._columns, rows))
        return _new(Draft, (number, key, changes))

    def _place(self, wide: Row) -> _Place:
        """Where this wide key of the grouped table goes, and its columns by name, which all its records share."""
        table = self._grouped
        assert table is not None  # noqa: S101 - there is a group, so there is its table
        values = cast("tuple[str | None, ...]", wide)  # no UNCHANGED: cdc.record.change has seen to that
        if len(self._places) >= _PLACES:
            self._places.clear()
        key = encode_key(table.placed(values))
        named = dict(zip(table.wide, values, strict=True))
        place = partition(key, self._numbering.partitions), key, named
        if len(key) <= _LONG:
            self._places[wide] = place
        return place

    def _stamp(self, begin: Begin | Single, number: int) -> Stamp:
        numbering = self._numbering
        connector, generation, sequence = numbering.connector, numbering.generation, numbering.take(number)
        return _new(Stamp, (connector, generation, sequence, self._position, begin.xid, begin.commit_time))

    def _open(self) -> Begin | Single:
        if self._begin is None:
            raise _astray("a change came outside of a transaction")
        return self._begin


def _astray(what: str) -> Halt:
    return Halt(
        Cause.UNDECODABLE_STREAM,
        what,
        "This is a defect of Widebeam or of the server: keep the slot, and report it with the server's version.",
    )
