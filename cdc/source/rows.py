"""Sessions with the source that only read, and of them the one that reads single rows, for moves that do not say an
unchanged TOAST value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_random_exponential

from cdc.event import Row
from cdc.source.narrow import NarrowTable
from cdc.source.session import connect_to_read

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

_VISIBLE_SECONDS: Final = 20.0
"""A commit is decoded before it is visible, for instance while it waits for a synchronous standby."""

# The stream says 32 bits of a transaction id; the epoch is that of the latest id at or after it.
_VISIBLE: Final = """
SELECT bool_and(pg_visible_in_snapshot(
         ((CASE WHEN xid <= x %% 4294967296 THEN x ELSE x - 4294967296 END)
          / 4294967296 * 4294967296 + xid)::text::xid8, s))
  FROM (SELECT s, pg_snapshot_xmax(s)::text::bigint AS x FROM pg_current_snapshot() s) t, unnest(%s::bigint[]) AS xid
"""


class SourceSession:
    """Made at the first need, and again once it is lost; `name` is what the server calls it. In autocommit mode."""

    def __init__(self, dsn: str, name: str) -> None:
        self._dsn, self._name = dsn, name
        self._connection: Connection | None = None

    def connected(self) -> Connection:
        """The session. Raises psycopg.Error when the source cannot be reached."""
        if self._connection is None or self._connection.closed:
            self._connection = connect_to_read(self._dsn, application_name=self._name)
        return self._connection

    def close(self) -> None:
        """Let go of it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class SourceRows:
    """A RowSource over a connection of its own, made at the first need: most tables never have one."""

    def __init__(self, dsn: str) -> None:
        self._source = SourceSession(dsn, "widebeam-capture-rows")

    def read(self, table: NarrowTable, cell: Row, xid: int) -> Row | None:
        """`table.carried` of the row at `cell`, once `xid` is visible; None if there is none."""
        connection = self._source.connected()
        await_visible(connection, [xid])
        query = sql.SQL("SELECT {} FROM {} WHERE {}").format(
            sql.SQL(", ").join(map(sql.Identifier, table.carried)),
            sql.Identifier(table.schema, table.name),
            sql.SQL(" AND ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in table.cell),
        )
        found = connection.execute(query, cell).pgresult
        if found is None or found.ntuples == 0:
            return None
        # The server's own text, not what psycopg would make of it.
        values = (found.get_value(0, index) for index in range(found.nfields))
        return tuple(None if value is None else value.decode() for value in values)

    def close(self) -> None:
        """Let go of the connection."""
        self._source.close()


def await_visible(connection: Connection, xids: Iterable[int]) -> None:
    """Wait until snapshots of this server see these transactions of its stream, each 32 bits; TimeoutError else."""
    wanted = sorted(set(xids))

    def visible() -> bool:
        return connection.execute(_VISIBLE, [wanted]).fetchone() == (True,)

    def give_up(_: object) -> bool:
        raise TimeoutError(
            f"transactions {wanted[:5]} were decoded but are not visible after {_VISIBLE_SECONDS:.0f} s: is a "
            "synchronous standby away? The run ends, and the next one tries again."
        )

    if wanted:
        Retrying(
            retry=retry_if_result(lambda seen: not seen),
            stop=stop_after_delay(_VISIBLE_SECONDS),
            wait=wait_random_exponential(0.01, max=0.5),
            retry_error_callback=give_up,
        )(visible)
