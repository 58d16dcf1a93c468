"""A session with the source that only reads, made at the first need, and again once it is lost."""

from __future__ import annotations

from typing import Any, TypeAlias

import psycopg

from cdc.source.session import connect_to_read

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


class SourceSession:
    """`name` is what the server's list of sessions calls it. In autocommit mode."""

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
