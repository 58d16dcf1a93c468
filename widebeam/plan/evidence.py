"""What the readings that were looked at say about each key: of which type a column for it has to be. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import NamedTuple

from sink.mapping.interpret import Interpreter, Unplaced
from sink.mapping.kinds import TEXT, holds, joined
from sink.mapping.wide import Need


class Kind(NamedTuple):
    """Where a reading came from and which column type would hold it."""

    source: str
    type: str
    textual: bool
    misfit: bool = False


class Pair(NamedTuple):
    """A key of an entity; of no entity where one table holds all."""

    entity: tuple[str, ...]
    key: str


@dataclass(slots=True)
class Evidence:
    """Counted readings: kinds by pair, and rows that have no place, by reason with an example."""

    single: bool
    pairs: dict[Pair, Counter[Kind]] = field(default_factory=dict)
    unplaced: dict[str, tuple[int, str]] = field(default_factory=dict)
    entities: set[tuple[str, ...]] = field(default_factory=set)
    moments: set[tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=set)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By type: how many readings, and of how many characters all together."""
    rows: int = 0
    readings: int = 0
    missing: int = 0
    """Rows that do not count by `where`, and readings that are NULL."""

    def add(self, interpreter: Interpreter, rows: Iterable[Sequence[str | None]]) -> None:
        """Take rows in, each with the values of NarrowTable.columns."""
        width = len(interpreter.rule.table.wide)
        for row in rows:
            self.rows += 1
            found = interpreter.read(row[:width], row[width:])
            if isinstance(found, Unplaced):
                count, example = self.unplaced.get(found.reason, (0, found.detail))
                self.unplaced[found.reason] = (count + 1, example)
                continue
            for reading in found:
                if not isinstance(reading.value, str):
                    self.missing += 1
                    continue
                self.entities.add(reading.entity)
                self.moments.add((reading.entity, reading.time))
                self.readings += 1
                count, size = self.sizes.get(reading.type, (0, 0))
                self.sizes[reading.type] = count + 1, size + len(reading.value.encode())
                pair = Pair(() if self.single else reading.entity, reading.key)
                kinds = self.pairs.setdefault(pair, Counter())
                kinds[Kind(reading.source, reading.type, reading.textual, reading.misfit)] += 1

    @property
    def cells_a_row(self) -> float:
        """How many readings share a moment of an entity, among those that were looked at."""
        return self.readings / max(len(self.moments), 1)

    @property
    def readings_a_row(self) -> float:
        """How many readings a narrow row has."""
        return self.readings / max(self.rows, 1)

    def characters(self, type_text: str) -> float | None:
        """How long a reading of a type is as a text; None if there was none."""
        count, size = self.sizes.get(type_text, (0, 0))
        return size / count if count else None

    def needs(self, *, widen: bool = False) -> list[Need]:
        """A column for every pair, in order: of its commonest kind; with `widen`, of a type that holds all kinds."""
        return [Need(pair.entity, pair.key, *settled(self.pairs[pair], widen=widen)) for pair in sorted(self.pairs)]

    def conflicts(self, *, widen: bool = False) -> dict[Pair, list[Kind]]:
        """Pairs whose readings do not all fit one column, with the kinds that stay outside."""
        found = {}
        for pair, kinds in self.pairs.items():
            _, type_text = settled(kinds, widen=widen)
            outside = [kind for kind in kinds if not _fits(kind, type_text, widen=widen)]
            if outside:
                found[pair] = outside
        return found


def settled(kinds: Counter[Kind], *, widen: bool = False) -> tuple[str, str]:
    """The source column and the type of a column for these readings."""
    (commonest, _), *_ = kinds.most_common(1)
    types = sorted({kind.type for kind in kinds})
    if len(types) > 1 and all(kind.textual for kind in kinds):
        return commonest.source, TEXT
    return commonest.source, reduce(joined, types) if widen else commonest.type


def _fits(kind: Kind, type_text: str, *, widen: bool) -> bool:
    return (
        (kind.type == type_text and not kind.misfit)
        or (kind.textual and type_text == TEXT)
        or (widen and holds(type_text, kind.type))
    )
