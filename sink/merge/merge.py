"""Merging folded rows into wide tables: COPY into a staging table, one sorted statement out of it.

A staging table belongs to a session and a wide table, and is kept: making and dropping one for each batch would
bloat the catalog. Rows are merged in the order of the wide key, so that sinks and chunks do not deadlock.

A sink's few rows are bound to statements instead (sink/merge/bound.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Mapping as Dict
from itertools import product
from typing import Final

from psycopg import RawCursor, sql

from cdc.lsn import Lsn
from sink.fold.rows import PartRows
from sink.mapping.layout import LSN_COLUMN
from sink.mapping.mapping import Mapping
from sink.mapping.wide import Column, Part
from sink.merge import overflow
from sink.merge.bound import Bound, Row
from sink.merge.clears import Clears, columns_now
from sink.merge.overflow import Overflow
from sink.merge.stage import EVERYWHERE, Connection, Range, Stage, Stages
from sink.merge.staging_slot import StagingSlot, pieces, shape_of
from sink.wide import tables

_WRITE_AT_ONCE: Final = 256  # lines of COPY handed over together: some 100 kB of whole rows

_MOST_BOUND: Final = 2_100
"""Parameters of a batch whose rows are bound: eight rows of 250 columns cost as much as when they are staged."""

_PLANNED_COLUMNS: Final = 60_000
"""Columns of statements whose plans the server keeps for a session, some 100 MB. Those beyond are planned anew each
time: to keep the ones used last would keep none, where more of them come by in turn."""

_PLAN: Final = 60
"""What a plan takes beside its columns, in columns."""


class Merger:
    """Merges into the wide tables over one connection, which is in autocommit.

    Call `prepare` outside a transaction, and then inside one `stage` for all rows; then take locks, and call `upsert`
    or `fill` for the tables, in name order. With `binds` few rows are not staged: then a batch has no table twice, and
    nothing is filled.
    """

    def __init__(self, connection: Connection, mapping: Mapping, *, binds: bool = False) -> None:
        self._connection = connection
        self._mapping = mapping
        self._binds = binds
        self._bounds: dict[str, Bound] = {}
        self._few: dict[str, list[Row]] = {}  # of the present batch
        self._stages = Stages(connection, mapping)
        self._clears: Clears | None = None
        self._overs: Stage | None = None
        self._numbers: dict[tuple[str, int], int] = {}
        self._slots: dict[str, list[StagingSlot]] = {}
        self._overflows: dict[str, Overflow] = {}
        self._staged: set[tuple[Stage, int]] = set()
        self._merged: set[tuple[Stage, int]] = set()
        self._ranges: dict[tuple[Stage, int], Range] = {}
        self._changes = self._planned = 0
        connection.prepared_max = _PLANNED_COLUMNS // _PLAN + 100

    def prepare(self, batch: Iterable[PartRows], changes: int = 0) -> None:
        """Make the staging tables that these rows need, each in a transaction of its own.

        `changes` is how often columns were widened or renamed: what was known of wide tables before that is no good.
        """
        self._staged.clear()
        self._merged.clear()
        self._stages.begin()
        if changes != self._changes:
            self._slots, self._overflows, self._bounds = {}, {}, {}
            self._changes, self._planned = changes, 0
        every = list(batch)
        self._few = self._bound(every) if self._binds else {}
        if not self._few:
            self._make_room(every)

    def _bound(self, batch: list[PartRows]) -> dict[str, list[Row]]:
        """The rows of a batch by table, if they are so few that none has to be staged; else nothing."""
        few: dict[str, list[Row]] = {}
        parameters = 0
        for rows in batch:
            table = rows.part.table
            bound = self._bounds.get(table)
            if bound is None or bound.columns != rows.columns:
                self._planned -= 0 if bound is None else bound.planned
                bound = self._bounds[table] = Bound(self._connection, self._mapping, rows.part, rows.columns)
            found = bound.rows(rows)
            parameters += 0 if found is None else len(found) * len(rows.columns)
            if found is None or parameters > _MOST_BOUND:
                return {}
            few[table] = found
        return few

    def _make_room(self, batch: list[PartRows]) -> None:
        """See that there is a slot in the staging tables for these rows."""
        for rows in batch:
            table = rows.part.table
            known = self._slots.get(table, [])
            same = known and (known[0].whole == rows.columns)
            wanted = [slot.columns for slot in known] if same else pieces(self._mapping, rows.columns)
            self._slots[table] = [
                self._slot(rows, n, columns, known[n] if n < len(known) else None) for n, columns in enumerate(wanted)
            ]
            number = self._slots[table][0].number
            if rows.clears and self._clears is None:
                self._clears = Clears(self._connection, self._mapping)
            if rows.over is not None and table not in self._overflows:
                self._overs = self._overs or Stage(self._connection, self._mapping, overflow.SHAPE)
                self._overflows[table] = Overflow(
                    self._connection, self._mapping, rows.part, rows.over, self._overs, number
                )

    def _slot(self, rows: PartRows, n: int, columns: Sequence[Column], known: StagingSlot | None) -> StagingSlot:
        """The slot for the piece `n` of a wide table's columns: the one that is known, if nothing has changed."""
        stage = self._stages.of(shape_of(columns))
        if known is not None and known.stage is stage and known.whole == rows.columns:
            return known
        self._planned -= 0 if known is None else known.planned
        number = self._numbers.setdefault((rows.part.table, n), len(self._numbers) + 1)
        return StagingSlot(self._connection, self._mapping, rows, columns, stage, number)

    def stage(self, *batch: PartRows) -> None:
        """COPY rows into the staging tables, in the transaction that merges them; more may come after.

        That touches nothing that anybody else wants. A process that is stopped in the middle of a COPY stays there,
        whatever time limits the server has: so whoever stages before he takes locks holds nobody up by that.
        """
        copies: dict[bytes, list[tuple[int, list[str]]]] = {}
        for rows in batch if not self._few else ():
            slots = self._slots[rows.part.table]
            for slot, each in product(slots, rows.copies):
                columns, lines = each if len(slots) == 1 else slot.cut(each)
                if lines:
                    self._note(slot.stage, slot.number)
                    copies.setdefault(slot.copy(columns), []).append((slot.number, lines))
            clears = None if self._clears is None else self._clears.stage
            for stage, lines in ((self._overs, rows.over_lines), (clears, rows.clear_lines)):
                if lines and stage is not None:
                    self._note(stage, slots[0].number)
                    copies.setdefault(stage.copy_all, []).append((slots[0].number, lines))
        for copy, parts in copies.items():
            self._write(copy, parts)

    def locate(self, positions: Dict[Lsn, Lsn]) -> None:
        """Give rows their `_lsn` that were staged before anybody knew how far the stream is: by what stands for it."""
        marks = [str(mark) for mark in positions], [str(position) for position in positions.values()]
        for stage in {stage.number: stage for stage, _ in self._staged}.values():
            self._connection.execute(
                sql.SQL(
                    "UPDATE {0} AS staged SET {1} = known.position"
                    " FROM unnest(%s::pg_lsn[], %s::pg_lsn[]) AS known (mark, position) WHERE staged.{1} = known.mark"
                ).format(stage.table, sql.Identifier(LSN_COLUMN)),
                marks,
            )

    def upsert(self, *batch: PartRows) -> None:
        """The stream's rows, which were staged: what is set wins, what is cleared goes, `_lsn` is the change's.

        Rows that end empty are deleted.
        """
        for table, few in self._few.items():  # one after the other: see `_AT_ONCE` there
            self._plan(self._bounds[table])
            self._bounds[table].upsert(few)
        if self._few:
            return
        self._locate([rows.part for rows in batch])
        for rows in batch:
            self._upsert(rows)

    def _upsert(self, rows: PartRows) -> None:
        slots, over = self._slots[rows.part.table], self._overflows.get(rows.part.table)
        members = over is not None and self._take(self._overs, slots[0].number)
        for slot in slots:
            if self._take(slot.stage, slot.number):
                self._merge(slot.upsert, slot)
        if over is not None and members:
            over.set()
        if self._clears is not None and self._take(self._clears.stage, slots[0].number):
            self._clears.merge(slots[0].number, rows)
        if over is not None and members:
            over.clear(columns_now(self._connection, self._mapping, rows.part))

    def fill(self, *parts: Part) -> None:
        """A chunk's rows, which were staged (rule M): only cells that are NULL are filled, and a row keeps its `_lsn`.

        All that was staged for a part goes in one statement, in the order of the wide key: that is what keeps a chunk
        of any size from deadlocks with sinks.
        """
        self._locate(parts)
        for part in parts:
            slots, over = self._slots[part.table], self._overflows.get(part.table)
            for slot in slots:
                if self._take(slot.stage, slot.number):
                    self._merge(slot.fill, slot)
            if over is not None and self._take(self._overs, slots[0].number):
                over.fill()

    def _locate(self, parts: Sequence[Part]) -> None:
        """Know where the rows of these tables lie.

        Their statements go one by one: in a pipeline, a process that is stopped between two of them would keep its
        locks, since the server's time limit for who idles in a transaction holds between two answers only.
        """
        stages = {slot.stage for part in parts for slot in self._slots[part.table]} if len(parts) > 1 else ()
        self._ranges = {(stage, number): where for stage in stages for number, where in stage.ranges().items()}
        # One plan for all places; it is made at the first use, which takes longer than to merge a small batch.
        self._connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")

    def _merge(self, statement: bytes, slot: StagingSlot) -> None:
        self._plan(slot)
        where = self._ranges.get((slot.stage, slot.number), EVERYWHERE)
        RawCursor(self._connection).execute(statement, where, prepare=slot.planned > 0)

    def _plan(self, merge: StagingSlot | Bound) -> None:
        """Keep the plan of its statement, if there is room."""
        takes = _PLAN + len(merge.columns)
        if not merge.planned and self._planned + takes <= _PLANNED_COLUMNS:
            merge.planned = takes
            self._planned += takes

    def truncate(self, parts: Iterable[Part], position: Lsn) -> None:
        """The narrow table was truncated at `position`: rows that were last touched before it go."""
        for part in sorted(parts, key=lambda part: part.table):
            statement = sql.SQL("DELETE FROM {} WHERE {} < %s::pg_lsn")
            self._connection.execute(
                statement.format(tables.relation(part), sql.Identifier(LSN_COLUMN)), [str(position)]
            )

    def _note(self, stage: Stage, number: int) -> None:
        """Rows come into a staging table, which is empty at the start of a transaction, not when it is used again."""
        if (stage, number) in self._merged:
            stage.empty(number)
            self._merged.remove((stage, number))
        self._staged.add((stage, number))

    def _write(self, copy: bytes, parts: list[tuple[int, list[str]]]) -> None:
        with self._connection.cursor().copy(copy) as target:
            block, size = list[str](), 0
            for number, lines in parts:
                mark = f"{number}\t"
                for start in range(0, len(lines), _WRITE_AT_ONCE):
                    some = lines[start : start + _WRITE_AT_ONCE]
                    block.append(mark + mark.join(some))
                    size += len(some)
                    if size >= _WRITE_AT_ONCE:
                        target.write("".join(block))
                        block, size = [], 0
            target.write("".join(block))

    def _take(self, stage: Stage | None, number: int) -> bool:
        """Is there anything in a staging table that is not merged yet? From here on it is."""
        if stage is None or (stage, number) not in self._staged:
            return False
        self._staged.remove((stage, number))
        self._merged.add((stage, number))
        return True
