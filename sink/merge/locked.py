"""A transaction that has come to where wide rows are written: in it, columns stay as they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import LiteralString

from psycopg import sql

from cdc.lsn import Lsn
from sink.mapping.mapping import Mapping
from sink.mapping.names import BARE, LSN_COLUMN
from sink.mapping.wide import Part
from sink.merge.present import present
from sink.merge.stage import Connection
from sink.wide import tables


class Locked(ABC):
    """Whoever writes wide rows has one, and takes all locks that come before them first (ARCHITECTURE.md, 9)."""

    def __init__(self, connection: Connection, mapping: Mapping) -> None:
        self._connection, self._mapping = connection, mapping

    @abstractmethod
    def upsert(self) -> None:
        """The stream's rows: what is set wins, what is cleared goes, `_lsn` is the change's."""

    def truncate(self, parts: Iterable[Part], position: Lsn) -> None:
        """The narrow table was truncated at `position`: rows that were last touched before it go.

        One that is there for a later row of another part stays, without a cell.
        """
        for part in sorted(parts, key=lambda part: part.table):
            names: dict[str, sql.Composable] = {
                "wide": tables.relation(part),
                "lsn": sql.Identifier("wide", LSN_COLUMN),
                "position": sql.Literal(str(position)),
            }
            now = present(self._connection, self._mapping, part)
            if now.led:  # they can only be asked for rows that are locked
                lock = "SELECT count(*) FROM (SELECT FROM {wide} AS wide WHERE {lsn} < {position} FOR UPDATE) AS locked"
                self._run(lock, names)
                now = present(self._connection, self._mapping, part)
            later = sql.SQL(" AND {} >= {}::pg_lsn").format(sql.Identifier("other", LSN_COLUMN), names["position"])
            needed = now.needed(later)
            self._run("DELETE FROM {wide} AS wide WHERE {lsn} < {position} AND NOT ({needed})", names, needed=needed)
            if now.led and now.columns:
                gone = sql.SQL(", ").join(sql.SQL("{} = NULL").format(sql.Identifier(each)) for each in now.columns)
                update = (
                    "UPDATE {wide} AS wide SET {column} = {bare}, {gone} WHERE {lsn} < {position} AND {lsn} <> {bare}"
                )
                self._run(update, names, gone=gone, bare=sql.Literal(BARE), column=sql.Identifier(LSN_COLUMN))

    def _run(self, statement: LiteralString, names: dict[str, sql.Composable], **more: sql.Composable) -> None:
        self._connection.execute(sql.SQL(statement).format(**names, **more))
