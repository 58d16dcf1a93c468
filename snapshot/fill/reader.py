"""Reading a chunk: one COPY out of the source, folded while it comes in, never more of it than memory allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Event
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg import sql

from cdc.failpoint import Failpoint, hit
from cdc.fate import Whose
from cdc.fault import session_of
from cdc.lsn import Lsn
from cdc.source.table_name import TableName
from sink.fold.column_route import Routes
from sink.mapping.dictionary import Dictionary
from sink.mapping.interpret import Interpreters
from sink.mapping.mapping import Mapping
from sink.mapping.rule import Rule
from sink.mapping.wide import Need
from sink.wide.partitions import days_in
from snapshot.chunks.between import between
from snapshot.chunks.plan import Chunk
from snapshot.fill.fold import ChunkFold, Others, Refused

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"
Block: TypeAlias = "bytes | bytearray | memoryview"
Ensure: TypeAlias = Callable[[list[Need]], Refused]
"""Makes columns, in a transaction of its own; answers the keys that cannot have one."""

MOST_BYTES: Final = 160 * 1024 * 1024
"""How heavy a fold may get. A worker with one of this weight stays under 300 MB."""

_ROWS_AT_ONCE: Final = 500
_MOST_AT_ONCE: Final = 32_000
"""Rows at once after many new keys: each time that columns are made costs as much as all columns of their view."""
_BYTES_AT_ONCE: Final = 1024 * 1024


_PLACINGS: Final = 4
"""Attempts to place lines: the first, one when columns are made, one when they are widened, and one to spare."""


class Stopped(Exception):
    """The worker was told to stop in the middle of a chunk."""


class Reading(NamedTuple):
    """A chunk as it was read: the identities of all entities in it, and its folded pieces; `whole`: it is one piece.

    Where wide tables are partitioned by time, `entities` has the days of their rows, too; else nothing.
    """

    entities: dict[str, set[str]]
    pieces: Iterator[ChunkFold]
    whole: bool = True


class ChunkReader:
    """Reads chunks over one source connection, which is in autocommit mode, each in a snapshot of its own.

    The gate has to be open. `ensure` is called in the middle of a COPY, and must not use the source connection; nor
    must the second part of `lookup`, which reads the dictionary again when an id is unknown.
    """

    def __init__(
        self,
        source: Connection,
        mapping: Mapping,
        routes: Routes,
        cutoff: Lsn,
        ensure: Ensure,
        lookup: tuple[Dictionary, Callable[[], object]] | None = None,
        others: Others | None = None,
    ) -> None:
        self._source, self._mapping, self._routes, self._cutoff = source, mapping, routes, cutoff
        self._ensure = ensure
        self._unknown: set[str] = set()
        dictionary, self._look_up = lookup or (Dictionary(), lambda: None)
        self._interpreters = Interpreters(mapping, dictionary)
        self._refused: Refused = {}
        self._others = others
        self._at_once = _ROWS_AT_ONCE
        self._crowded = mapping.rule.several != "refuse"

    @contextmanager
    def read(self, chunk: Chunk, stop: Event, most_bytes: int = MOST_BYTES) -> Iterator[Reading]:
        """The chunk, folded: in one piece, for which the source's transaction is over before it is answered.

        A chunk that turns out heavier than `most_bytes` (the planner's estimate was wrong) comes in several pieces,
        read twice in one snapshot: at first only to make all of its columns, so that whoever merges the pieces in one
        transaction never has to make one in the middle of it.
        """
        with ExitStack() as open_snapshot:
            open_snapshot.enter_context(self._snapshot())
            fold, whole = self._fold(chunk), True
            entities: dict[str, set[str]] = {}
            self._meet(fold, chunk, stop)
            hit(Failpoint.BACKFILL_SNAPSHOT_TAKEN)
            for lines, size in self._lines(chunk, stop):
                self._take(fold, lines, size)
                if fold.weight > most_bytes and not self._crowded:  # what may meet has to stay together
                    self._note(fold, entities)
                    fold, whole = self._fold(chunk), False
            self._note(fold, entities)
            if whole:
                open_snapshot.close()
            hit(Failpoint.BACKFILL_READ)
            yield Reading(entities, iter([fold]) if whole else self._again(chunk, stop, most_bytes), whole)

    def _note(self, fold: ChunkFold, entities: dict[str, set[str]]) -> None:
        """Who is in the fold, and when."""
        for entity, rows in fold.tables.items():
            days = days_in(self._mapping, rows) if self._mapping.partition_by is not None else set[str]()
            entities.setdefault(entity, set()).update(days)

    def _again(self, chunk: Chunk, stop: Event, most_bytes: int) -> Iterator[ChunkFold]:
        fold = self._fold(chunk)
        for lines, size in self._lines(chunk, stop):
            if fold.weight > most_bytes:
                yield fold
                fold = self._fold(chunk, line=fold.next_line)
            self._take(fold, lines, size)
        yield fold

    def _meet(self, fold: ChunkFold, chunk: Chunk, stop: Event) -> None:
        """The rows of the other tables that can meet the chunk's in a cell: those of the same range."""
        others = [rule.table.qualified for rule in self._mapping.met if rule.table.qualified != chunk.source]
        for source in others if self._crowded else []:
            for lines, _ in self._lines(chunk._replace(source=source, reads=""), stop):
                fold.add_other(source, lines)

    def _rule(self, chunk: Chunk) -> Rule:
        rule = self._mapping.rule_of(chunk.source)
        if rule is None:
            raise LookupError(f"chunk {chunk.number} is of {chunk.source}, which is none of the narrow tables")
        return rule

    def _fold(self, chunk: Chunk, line: int = 0) -> ChunkFold:
        return ChunkFold(
            self._mapping,
            self._routes,
            self._cutoff,
            chunk,
            line=line,
            interpreters=self._interpreters,
            look_up=self._looked_up,
            others=self._others,
        )

    def _looked_up(self) -> bool:
        """Read the dictionary again if it lacks an id that it did not lack at the last time."""
        missing = self._interpreters.dictionary.missing
        if missing <= self._unknown:
            return False
        self._unknown |= missing
        self._look_up()
        return True

    def _take(self, fold: ChunkFold, lines: list[str], size: int) -> None:
        """Fold lines in; make columns for keys that have none."""
        fold.add(lines, size)
        needs: list[Need] = []
        for _ in range(_PLACINGS):
            needs = fold.place(self._refused) if fold.open else []
            if not needs:
                return
            self._refused |= self._ensure(needs)
            self._at_once = min(self._at_once * 2, _MOST_AT_ONCE)
        raise LookupError(f"keys have neither a column nor a reason for it: {needs[:3]}")

    def _lines(self, chunk: Chunk, stop: Event) -> Iterator[tuple[list[str], int]]:
        """Some lines at a time, without their line ends, and their size in bytes."""
        blocks, size = [], 0
        with self._source.cursor().copy(select(self._rule(chunk), chunk)) as copy:
            for block in _of_the_source(copy):
                blocks.append(block)
                size += len(block)
                if len(blocks) >= self._at_once or size > _BYTES_AT_ONCE:
                    if stop.is_set():
                        raise Stopped
                    yield b"".join(blocks).decode().split("\n")[:-1], size
                    blocks, size = [], 0
        if blocks:
            yield b"".join(blocks).decode().split("\n")[:-1], size

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """A short transaction in which everything is read as of one moment."""
        with self._source.transaction():
            with session_of(Whose.SOURCE):
                self._source.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield


def _of_the_source(copy: Iterable[Block]) -> Iterator[Block]:
    """What it brings; its errors are known to be the source's, wherever they are met."""
    with session_of(Whose.SOURCE):
        yield from copy


def select(rule: Rule, chunk: Chunk, most: int | None = None) -> sql.Composed:
    """The COPY of a chunk: columns as they are, without casts, which would print another text than the stream's.

    A reading without a time (the column may allow it) belongs to the first chunk. With `most`, only so many rows.
    """
    table = rule.table
    return sql.SQL("COPY (SELECT {} FROM {} WHERE {}{}) TO STDOUT").format(
        sql.SQL(", ").join(map(sql.Identifier, table.columns)),
        narrow(rule, chunk),
        within(rule, chunk),
        sql.SQL("" if most is None else " LIMIT {}").format(sql.Literal(most)),
    )


def narrow(rule: Rule, chunk: Chunk) -> sql.Identifier:
    """The table that a chunk is read from."""
    return sql.Identifier(*(TableName.of(chunk.reads) if chunk.reads else rule.table.table_name))


def within(rule: Rule, chunk: Chunk) -> sql.Composable:
    """The condition that a row is between a chunk's bounds."""
    return between(rule, chunk.lower, chunk.upper)
