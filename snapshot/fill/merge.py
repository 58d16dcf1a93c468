"""Merging a chunk by rule M: it only fills, and never what the stream cleared meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Dict
from itertools import islice
from time import monotonic
from typing import Any, Final, TypeAlias

import psycopg

from cdc.failpoint import Failpoint, hit
from sink.fold.rows import PartRows
from sink.fold.spread import spread, whole
from sink.mapping.mapping import Mapping
from sink.merge.merge import Merger
from sink.merge.prepared import Held, Prepared
from sink.merge.staged import Staged
from sink.state import quarantine
from sink.wide.partitions import for_all_parts
from sink.wide.registry import Registry, Retyped
from snapshot.chunks import ledger
from snapshot.chunks.plan import Chunk
from snapshot.fill import tombstones
from snapshot.fill.fold import ChunkFold
from snapshot.fill.reader import Reading
from snapshot.fill.tombstones import Tombstone

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_ROWS_AT_ONCE: Final = 50_000
"""Wide rows that are spread at once: a line may be much longer than its one cell, for the NULLs in it."""

_STAGINGS: Final = 3
"""Attempts to stage a chunk before its row in the ledger is locked, while the stream clears cells of it."""

_HURRY: Final = "SET LOCAL idle_in_transaction_session_timeout = '60s'"
"""Between two statements that hold locks there is nothing to be done: who stands still there is to let go."""


class _Cleared(Exception):
    """The stream has cleared a cell of the chunk since its tombstones were read."""


class ChunkMerger:
    """Merges folded chunks over one target connection, which is in autocommit mode."""

    def __init__(self, target: Connection, registry: Registry) -> None:
        self._target, self._registry = target, registry
        self._mapping: Mapping = registry.mapping
        self._merger = Merger(target, registry)
        self.misfits: list[int] = []
        """The numbers of the entries that the last chunk has in quarantine."""

    def merge(self, chunk: Chunk, reading: Reading, began: float) -> bool:
        """Merge all pieces in one transaction and say so in the ledger; False when the chunk is not open any more.

        From the lock on the ledger's row on, no sink can write a tombstone of this chunk, and the tombstones are read
        (again) in a later statement, so none is missed. `began` is when the work on the chunk began (time.monotonic).
        """
        self.misfits = []
        merged = self._merged(chunk, reading, began)
        if merged:
            hit(Failpoint.BACKFILL_COMMITTED)
        return merged

    def _merged(self, chunk: Chunk, reading: Reading, began: float) -> bool:
        if not reading.whole:
            try:
                return self._merge_pieces(chunk, reading, began)
            except Retyped:  # before anything was read of it
                self._registry.refresh(self._target)
                return self._merge_pieces(chunk, reading, began)
        piece = next(reading.pieces)
        counts = piece.rows, piece.cells
        for _ in range(_STAGINGS):
            try:
                return self._merge_whole(chunk, reading, piece, counts, began)
            except _Cleared:
                continue
            except Retyped:
                self._registry.refresh(self._target)
        return self._merge_pieces(chunk, reading._replace(pieces=iter([piece])), began)

    def _merge_whole(
        self, chunk: Chunk, reading: Reading, piece: ChunkFold, counts: tuple[int, int], began: float
    ) -> bool:
        """Staged before any lock is taken, so that nobody waits for that. Raises _Cleared, Retyped."""
        prepared = self.prepare(reading.entities)
        with self._target.transaction():
            known = tombstones.of_chunk(self._target, self._mapping, chunk)
            staged = self._stage(prepared, piece, known)
            self._target.execute(_HURRY)
            locked = staged.lock()
            if not self._lock(chunk):
                return False
            if tombstones.of_chunk(self._target, self._mapping, chunk) != known:
                raise _Cleared
            locked.fill()
            self._shelve(piece)
            self._mark(chunk, *counts, began)
        return True

    def _merge_pieces(self, chunk: Chunk, reading: Reading, began: float) -> bool:
        """Too large to be staged as one, or cleared in too often. Raises Retyped."""
        rows = cells = 0
        prepared = self.prepare(reading.entities)
        with self._target.transaction():
            held = prepared.hold()
            if not self._lock(chunk):
                return False
            stones = tombstones.of_chunk(self._target, self._mapping, chunk)
            for piece in reading.pieces:
                rows, cells = rows + piece.rows, cells + piece.cells
                held.fill(self._rows(piece, stones))
                self._shelve(piece)
                del piece  # before the next one is made: both would not fit
            self._mark(chunk, rows, cells, began)
        return True

    def _lock(self, chunk: Chunk) -> bool:
        """Nobody writes a tombstone of this chunk from here on; False when the chunk is not open any more."""
        if not ledger.lock(self._target, self.connector, chunk.number):
            hit(Failpoint.BACKFILL_VOIDED)
            return False
        hit(Failpoint.BACKFILL_LOCKED)
        return True

    def _mark(self, chunk: Chunk, rows: int, cells: int, began: float) -> None:
        tombstones.forget(self._target, self.connector, chunk)
        seconds = monotonic() - began
        hit(Failpoint.BACKFILL_MERGED)
        ledger.mark_merged(self._target, self.connector, chunk.number, rows=rows, cells=cells, seconds=seconds)
        hit(Failpoint.BACKFILL_MARKED, self._target)

    @property
    def connector(self) -> str:
        """Whose chunks these are."""
        return self._mapping.connector

    @property
    def target(self) -> Connection:
        """Where they go."""
        return self._target

    @property
    def replays_undo(self) -> bool:
        """Whether a replay would put back what a chunk was written over.

        Not where a sink reads each cell again, and no row that is gone counts.
        """
        return self._mapping.rule.several == "refuse" or self._mapping.on_delete == "ignore"

    @property
    def registry(self) -> Registry:
        """The columns that are known."""
        return self._registry

    def prepare(self, entities: Dict[str, set[str]], *, clears: bool = False) -> Prepared:
        """Partitions and staging tables for the rows of these entities, and their days; `clears`: for clears, too."""
        self._registry.cover(self._target, lambda: for_all_parts(self._registry.entities, entities))
        return self._merger.prepare(whole(self._registry.entities, entities, clears=clears))

    def write_over(self, chunk: Chunk, held: Held, reading: Reading, began: float) -> None:
        """Write a chunk over what is there, in the open transaction, at a standstill: it is read in that, too.

        So it is newer than all that was applied, tombstones included. It was prepared with `clears` before.
        """
        if not ledger.lock(self._target, self.connector, chunk.number):
            return
        rows, cells = self._write_over(held, reading)
        tombstones.forget(self._target, self.connector, chunk)
        seconds = monotonic() - began
        ledger.mark_merged(self._target, self.connector, chunk.number, rows=rows, cells=cells, seconds=seconds)

    def _write_over(self, held: Held, reading: Reading) -> tuple[int, int]:
        """Write all pieces over what is there; how many rows and cells they have."""
        rows = cells = 0
        for piece in reading.pieces:
            rows, cells = rows + piece.rows, cells + piece.cells
            for some in self._spread(piece):  # a row's parts go together: its last cell may be in any of them
                held.upsert(some)
            quarantine.write(self._target, self.connector, piece.quarantine_entries)
            del piece  # before the next one is made: both would not fit
        return rows, cells

    def _stage(self, prepared: Prepared, piece: ChunkFold, stones: Iterable[Tombstone]) -> Staged:
        """Stage the rows of a piece.

        All of a table's are staged before any of them is merged: else a chunk would come back to a table that it has
        locked rows of, behind those of another one.
        """
        staged = prepared.stage(self._rows(piece, stones))
        if staged.tables:
            hit(Failpoint.BACKFILL_STAGED)
        return staged

    def _rows(self, piece: ChunkFold, stones: Iterable[Tombstone]) -> Iterator[list[PartRows]]:
        """What the stream has not cleared."""
        tombstones.leave_out(piece, self._registry.entities, stones)
        return self._spread(piece)

    def _spread(self, piece: ChunkFold) -> Iterator[list[PartRows]]:
        """The rows over the part tables, some rows at a time, of one entity or of many."""
        some, size = list[PartRows](), 0
        for each, rows in piece.tables.items():
            entity = self._registry.entities.get(each)
            left = iter(rows.items())
            # An entity without a table has no cells: there is nothing but NULLs and quarantine_entries in its rows.
            while entity is not None and (few := dict(islice(left, _ROWS_AT_ONCE))):
                some += spread(entity, few)
                size += len(few)
                if size >= _ROWS_AT_ONCE:
                    yield some
                    some, size = [], 0
        if some:
            yield some

    def _shelve(self, piece: ChunkFold) -> None:
        """Write down what has no place."""
        self.misfits += quarantine.write(self._target, self.connector, piece.quarantine_entries)
