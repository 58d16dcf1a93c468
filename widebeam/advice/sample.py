"""Some rows of the narrow tables, read as the mapping says: whether anything comes of them.

A label that is spelled otherwise, a filter that nothing passes or a wrong value column are no mistake that a catalog
shows: all rows would go into the quarantine, or nowhere, of a connector that looks well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import psycopg

from cdc.halt import Halt
from sink.lookup import entries
from sink.mapping.dictionary import Dictionary
from sink.mapping.interpret import Interpreters, Unplaced
from sink.mapping.mapping import Mapping
from snapshot.chunks.plan import Chunk
from widebeam.config import catalog
from widebeam.config.connector import Connector
from widebeam.counted import counted
from widebeam.finding import Finding
from widebeam.verify.range_reader import rows

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_ROWS: Final = 1000
"""Rows of a table that are looked at: the first that lie in it."""
_TABLES: Final = 20
_WHOLE: Final = Chunk(1, None, None, 0)
_WITHIN: Final = "10s"
"""How long one look may take: a table can begin with millions of rows that are gone."""
_MANY: Final = 0.01
"""The share of rows without a place from which on that is told."""


@dataclass(slots=True)
class Sample:
    """What came of some rows. `unplaced` are those for the quarantine, by reason and detail; `left_out` are those that
    `where` leaves out, and `empty` those without a value."""

    rows: int = 0
    left_out: int = 0
    empty: int = 0
    unplaced: Counter[Unplaced] = field(default_factory=Counter)

    @property
    def read(self) -> int:
        """Rows with a value that has a cell."""
        return self.rows - self.left_out - self.empty - self.unplaced.total()


def sample(session: Session, mapping: Mapping) -> Sample:
    """The first rows of each of the first narrow tables."""
    rule = mapping.rule.dictionary
    dictionary = Dictionary({} if rule is None else dict(entries(session, rule)))
    interpreters, found = Interpreters(mapping, dictionary), Sample()
    for each in mapping.rules[:_TABLES]:
        for row in rows(session, each, _WHOLE, _ROWS):
            interpreter = interpreters.of(row.table)
            made = interpreter.read(row.head, row.row)
            found.rows += 1
            if isinstance(made, Unplaced):
                found.unplaced[made] += 1
            elif not interpreter.there(row.head, row.row):
                found.left_out += 1
            elif all(reading.value is None for reading in made):
                found.empty += 1
    return found


def without_reading(session: Session, connector: Connector) -> Iterator[Finding]:
    """Rows of which nothing would be seen in a wide table."""
    try:
        mapping = connector.mapping(catalog.sources(session, connector))
        with session.transaction():
            session.execute("SELECT set_config('statement_timeout', %s, true)", [_WITHIN])
            found = sample(session, mapping)
    except Halt:
        return  # the findings say so
    looked = f"of the first {counted(found.rows, 'row')} that were looked at"
    where = f"see [source] of {connector.file}"
    unplaced = found.unplaced.total()
    if unplaced and unplaced >= found.rows * _MANY:
        (often, _) = found.unplaced.most_common(1)[0]
        yield Finding(
            f"{unplaced:,} {looked} would go into the quarantine, most of them by {often.reason}: {often.detail}",
            "",
            f"{where}: the names in `entity`, `key` and `labels`, the forms of time and value",
        )
    if found.rows and not found.read and not unplaced:
        option = "`where`: no row passes it" if found.left_out else "[source.value]: its columns are NULL in all rows"
        yield Finding(f"none {looked} has a value for a wide table", "", f"{where}, {option}")
