"""Merging folded rows into wide tables: COPY into a staging table, one sorted statement out of it.

Each step gives the value that the next one needs: `prepare` (outside a transaction), `stage`, `lock`, and at last
`upsert` or `fill`. A sink's few rows are bound to statements, and skip the first two (sink/merge/bound.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sink.fold.rows import PartRows
from sink.merge.bound import Bounds, Few
from sink.merge.plans import Plans
from sink.merge.prepared import Prepared
from sink.merge.stage import Connection
from sink.merge.table_slots import Slots
from sink.wide.registry import Registry


class Merger:
    """Merges into the wide tables of `registry` over one connection, which is in autocommit.

    What lasts longer than a batch is here: staging tables, and statements whose plans the server keeps.
    """

    def __init__(self, connection: Connection, registry: Registry) -> None:
        self._registry = registry
        self._plans = Plans(connection)
        self._slots = Slots(connection, registry.mapping, self._plans)
        self._bounds = Bounds(registry.mapping, self._plans)
        self._changes = registry.changes

    def prepare(self, batch: Iterable[PartRows]) -> Prepared:
        """Make the staging tables that these rows need, each in a transaction of its own.

        It holds until the next one: that may drop tables for which nobody had a use.
        """
        self._follow()
        return Prepared(self._registry, self._plans, self._slots.of(batch))

    def few(self, batch: Sequence[PartRows]) -> Few | None:
        """The rows themselves, where they are so few that none has to be staged. No table comes twice in the batch."""
        self._follow()
        rows = self._bounds.rows(batch)
        return None if rows is None else Few(self._registry, self._plans, rows)

    def _follow(self) -> None:
        """Where columns were widened or renamed, what was known of wide tables is no good."""
        if self._registry.changes != self._changes:
            self._slots.forget()
            self._bounds.forget()
            self._plans.clear()
            self._changes = self._registry.changes
