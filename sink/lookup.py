"""Reading the dictionary from the source, and writing down in the target what it said."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql

from cdc.rows import await_visible
from cdc.session import connect
from sink.dictionary import Dictionary, Names, Renamed
from sink.rule import DictionaryRule

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

REFRESH_SECONDS: Final = 60.0
"""An entry that changes is seen after so long, even if no unknown id asks for it."""

_KNOWN: Final = "SELECT id, names FROM widebeam.dictionary WHERE connector = %s"
_KEEP: Final = """
INSERT INTO widebeam.dictionary AS d (connector, id, names) VALUES (%s, %s, %s)
ON CONFLICT (connector, id) DO UPDATE SET names = excluded.names, seen_at = now() WHERE d.names <> excluded.names
"""


class Lookup:
    """One process's dictionary: what the target remembers of it, and then what the source says.

    The source connection is made at the first need, reads only, and is of no other use.
    """

    def __init__(self, source_dsn: str, connector: str, rule: DictionaryRule | None) -> None:
        self._dsn, self._connector, self._rule = source_dsn, connector, rule
        self._source: Connection | None = None
        self._read_at: float | None = None
        self.dictionary = Dictionary()

    def due(self) -> bool:
        """Is it time to read it again?"""
        return self._rule is not None and (self._read_at is None or monotonic() - self._read_at > REFRESH_SECONDS)

    def refresh(self, target: Connection, xids: Iterable[int] = ()) -> list[Renamed]:
        """Read it again, once the transactions `xids` are visible; which entries have other names than before.

        `target` is in autocommit, outside a transaction. Raises psycopg.Error of either database, TimeoutError.
        """
        if self._rule is None:
            return []
        if self._read_at is None:
            self.dictionary.take((each, tuple(names)) for each, names in target.execute(_KNOWN, [self._connector]))
        source = self._connected()
        await_visible(source, xids)
        read = entries(source, self._rule)
        changed = [(each, names) for each, names in read if self.dictionary.entries.get(each) != names]
        renamed = self.dictionary.take(changed)
        with target.transaction(), target.cursor() as cursor:
            cursor.executemany(_KEEP, [[self._connector, each, list(names)] for each, names in sorted(changed)])
        self.dictionary.missing.clear()
        self._read_at = monotonic()
        return renamed

    def close(self) -> None:
        """Let go of the source."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def _connected(self) -> Connection:
        if self._source is None or self._source.closed:
            self._source = connect(self._dsn, autocommit=True, application_name="widebeam-dictionary")
            self._source.execute("SET default_transaction_read_only = on")
        return self._source


def entries(source: Connection, rule: DictionaryRule) -> list[tuple[str, Names]]:
    """The dictionary's entries, as the server prints them. An id that comes twice keeps its first names."""
    cursor = source.execute(sql.SQL("SELECT * FROM ({}) AS dictionary").format(statement(rule.query)))
    found = cursor.pgresult
    if found is None:
        return []
    made: dict[str, Names] = {}
    for n in range(found.ntuples):
        identifier, *names = (
            None if (value := found.get_value(n, column)) is None else value.decode() for column in range(found.nfields)
        )
        if identifier is not None:
            made.setdefault(identifier, tuple(names))
    return list(made.items())


def statement(query: str) -> sql.SQL:
    """A query of the connector's file as SQL: its author may read the source anyway, and the session only reads."""
    return sql.SQL(query.strip().rstrip(";"))
