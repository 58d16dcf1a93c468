"""A transaction that has come to where wide rows are written: in it, columns stay as they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from psycopg import sql

from cdc.lsn import Lsn
from sink.mapping.layout import LSN_COLUMN
from sink.mapping.wide import Part
from sink.merge.stage import Connection
from sink.wide import tables


class Locked(ABC):
    """Whoever writes wide rows has one, and takes all locks that come before them first (ARCHITECTURE.md, 9)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @abstractmethod
    def upsert(self) -> None:
        """The stream's rows: what is set wins, what is cleared goes, `_lsn` is the change's."""

    def truncate(self, parts: Iterable[Part], position: Lsn) -> None:
        """The narrow table was truncated at `position`: rows that were last touched before it go."""
        for part in sorted(parts, key=lambda part: part.table):
            statement = sql.SQL("DELETE FROM {} WHERE {} < %s::pg_lsn")
            self._connection.execute(
                statement.format(tables.relation(part), sql.Identifier(LSN_COLUMN)), [str(position)]
            )
