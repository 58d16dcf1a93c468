"""Reading the dictionary from the source, and writing down in the target what it said."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from time import monotonic
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql

from cdc.bindable import Verbatim
from cdc.fate import Fate, Whose
from cdc.fault import fault, session_of
from cdc.source.rows import SourceSession, await_visible
from cdc.trouble import TROUBLES
from sink.mapping.dictionary import Dictionary, Names, Renamed
from sink.mapping.rule import DictionaryRule, Rule
from sink.wide.registry import Registry
from sink.wide.rename import renamed_keys

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_log = logging.getLogger(__name__)

REFRESH_SECONDS: Final = 60.0
"""An entry that changes is seen after so long, even if no unknown id asks for it."""

AGAIN_SECONDS: Final = 5.0
"""After so long it is tried again where it cannot be read."""

_BPCHAR: Final = 1042
"""The OID of character(n)."""

DICTIONARY: Final = "dictionary"
"""Whose trouble it is then."""

_WITHIN: Final = "30s"
"""How long the source may take: somebody may hold a lock on the table."""

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
        self._connector, self._rule = connector, rule
        self._source = SourceSession(source_dsn, "widebeam-dictionary")
        self._read_at: float | None = None
        self._failed_at: float | None = None
        self._changes = 0
        self.dictionary = Dictionary()

    def due(self) -> bool:
        """Is it time to read it again?"""
        if self._rule is None:
            return False
        if self._failed_at is not None:
            return monotonic() - self._failed_at > AGAIN_SECONDS
        return self._read_at is None or monotonic() - self._read_at > REFRESH_SECONDS

    def follow(self, target: Connection, registry: Registry) -> None:
        """Read it again when it is time to, or when another process has renamed columns by what it has read."""
        if self.due() or (self._rule is not None and registry.changes != self._changes):
            self.refresh(target, registry=registry)

    def refresh(self, target: Connection, xids: Iterable[int] = (), registry: Registry | None = None) -> list[Renamed]:
        """Read it again, once the transactions `xids` are visible; which entries have other names than before.

        With a registry, their columns are renamed, and then what is new is written down; without one, somebody else
        has still to do that. `target` is in autocommit, outside a transaction. Raises psycopg.Error of either
        database, TimeoutError, Halt.
        """
        if self._rule is None:
            return []
        if self._read_at is None:
            self.dictionary.take((each, tuple(names)) for each, names in target.execute(_KNOWN, [self._connector]))
        read = self._read(self._rule, xids)
        if read is None:
            return []
        changed = [(each, names) for each, names in read if self.dictionary.entries.get(each) != names]
        renamed = self.dictionary.take(changed)
        if registry is not None and renamed:
            rule = registry.mapping.rule
            done = registry.rename(target, lambda: self._renamed(target, rule, changed))
            _log.info("%d entries of the dictionary have other names, and %d columns with them", len(renamed), done)
        else:
            others = {each.id for each in renamed}
            with target.transaction():
                self._keep(target, [each for each in changed if each[0] not in others])
        if registry is not None:
            self._changes = registry.changes
        self.dictionary.missing.clear()
        self._read_at = monotonic()
        return renamed

    def _read(self, rule: DictionaryRule, xids: Iterable[int]) -> list[tuple[str, Names]] | None:
        """What the source says; None where the dictionary is renamed, locked, or not ours to read.

        What is known of it holds on then, and ids that are not known go to the quarantine meanwhile: readings of all
        other keys do not wait for whoever mends it.
        """
        if self._failed_at is not None and monotonic() - self._failed_at < AGAIN_SECONDS:
            self.dictionary.missing.clear()
            return None
        try:
            with session_of(Whose.SOURCE):
                source = self._source.connected()
                await_visible(source, xids)
                read = entries(source, rule)
        except psycopg.Error as error:
            found = fault(error, Whose.SOURCE)
            if error.sqlstate is None or (found is not None and found.fate is Fate.WAITS):
                raise
            said = str(error).partition("\n")[0]
            log = _log.warning if self._failed_at is None else _log.debug
            log("the source's dictionary cannot be read, and known keys go on without it: %s", said)
            TROUBLES.hold(DICTIONARY, said)
            self._failed_at = monotonic()
            self.dictionary.missing.clear()
            return None
        TROUBLES.over(DICTIONARY)
        self._failed_at = None
        return read

    def _renamed(self, target: Connection, rule: Rule, changed: list[tuple[str, Names]]) -> dict[str, str]:
        """Which keys have other names than those that were written down last, by whichever process; then those are.

        In the open transaction in which their columns are renamed, so that it is done once.
        """
        known = {
            each: tuple(names)
            for each, names in target.execute(f"{_KNOWN} AND id = ANY(%s)", [self._connector, [n for n, _ in changed]])
        }
        self._keep(target, changed)
        renamed = [Renamed(each, known[each], now) for each, now in changed if known.get(each, now) != now]
        return renamed_keys(rule, self.dictionary, renamed, {each for each, _ in changed} - known.keys())

    def _keep(self, target: Connection, changed: list[tuple[str, Names]]) -> None:
        with target.cursor() as cursor:
            cursor.executemany(_KEEP, [[self._connector, each, list(names)] for each, names in sorted(changed)])

    def close(self) -> None:
        """Let go of the source."""
        self._source.close()


def entries(source: Connection, rule: DictionaryRule) -> list[tuple[str, Names]]:
    """The dictionary's entries, as the server prints them. An id that comes twice keeps its first names."""
    with source.transaction():
        source.execute("SELECT set_config('statement_timeout', %s, true)", [_WITHIN])
        cursor = source.execute(sql.SQL("SELECT * FROM ({}) AS dictionary").format(statement(rule.query)))
    found = cursor.pgresult
    if found is None:
        return []
    made: dict[str, Names] = {}
    for n in range(found.ntuples):
        identifier, *names = (
            None if (value := found.get_value(n, column)) is None else _unpadded(value.decode(), found.ftype(column))
            for column in range(found.nfields)
        )
        if identifier is not None:
            made.setdefault(identifier, tuple(names))
    return list(made.items())


def _unpadded(text: str, type_oid: int) -> str:
    """The spaces that fill a character(n) up are no part of an id or a name."""
    return text.rstrip(" ") if type_oid == _BPCHAR else text


def statement(query: str) -> Verbatim:
    """A query of the connector's file as SQL: its author may read the source anyway, and the session only reads."""
    return Verbatim(query.strip().rstrip(";"))
