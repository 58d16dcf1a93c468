"""The plans that the server keeps for a session, of the statements that come with each batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from psycopg import RawCursor

from sink.mapping.wide import Column
from sink.merge.stage import Connection

_PLANNED_COLUMNS: Final = 60_000
"""Columns of statements whose plans the server keeps for a session, some 100 MB. Those beyond are planned anew each
time: to keep the ones used last would keep none, where more of them come by in turn."""

_PLAN: Final = 60
"""What a plan takes beside its columns, in columns."""


class Planned(Protocol):
    """What has one statement for all of these columns."""

    columns: list[Column]


class Plans:
    """Runs statements over one connection, which is in autocommit; their parameters are $1, $2."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._cursor = RawCursor(connection)  # which does not look for its parameters with each execution
        self._kept: dict[Planned, int] = {}
        self._columns = 0
        connection.prepared_max = _PLANNED_COLUMNS // _PLAN + 100

    def run(self, whose: Planned, statement: bytes, parameters: Sequence[Any]) -> None:
        """Run a statement of its owner's, and keep the plan, if there is room."""
        self._cursor.execute(statement, parameters, prepare=self._keeps(whose))

    def forget(self, whose: Planned) -> None:
        """What had this statement has another one, or is no more."""
        self._columns -= self._kept.pop(whose, 0)

    def clear(self) -> None:
        """All have other statements."""
        self._kept.clear()
        self._columns = 0

    def _keeps(self, whose: Planned) -> bool:
        if whose in self._kept:
            return True
        takes = _PLAN + len(whose.columns)
        if self._columns + takes > _PLANNED_COLUMNS:
            return False
        self._kept[whose] = takes
        self._columns += takes
        return True
