"""What verify found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from sink.mapping.mapping import Mapping


@dataclass(frozen=True, slots=True)
class VerifySettings:
    """What to compare. `patience` is how long to wait for a barrier (seconds), `named` how many cells to name;
    `captured` tells whether capture is at work. With `acknowledge`, ranges that are gone from the source may stay."""

    mapping: Mapping
    source_dsn: str = field(repr=False)
    target_dsn: str = field(repr=False)
    chunk_rows: int = 200_000
    chunk_hours: float | None = None
    patience: float = 60.0
    named: int = 100
    captured: bool = True
    acknowledge: bool = False


class Place(NamedTuple):
    """Where a cell is: entity, time and key, as texts.

    Rows that have no place, since a part of it is NULL or the key is empty, are told apart by `row`.
    """

    entity: tuple[str | None, ...]
    time: tuple[str | None, ...]
    key: str
    row: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """A cell that is not the same on both sides; None where there is none."""

    entity: tuple[str | None, ...]
    time: tuple[str | None, ...]
    key: str
    narrow: str | None
    wide: str | None


@dataclass(frozen=True, slots=True)
class Gone:
    """A range of the wide tables' time, both ends in it, in which no narrow table has a row any more.

    `total` is the sum of its cells' hashes. Where somebody has said that it may stay (`by`, `at`), it had `had` cells
    then; it is `acknowledged` if they are still the same.
    """

    lower: str
    upper: str
    moments: int
    cells: int
    total: int
    acknowledged: bool = False
    by: str | None = None
    at: str | None = None
    had: int | None = None


@dataclass(slots=True)
class VerifyReport:
    """The outcome of a comparison of all that the narrow table holds with the wide tables.

    `rows` are narrow rows, `cells` those of them with a reading. `differences` counts cells that differ, of which
    `differing` names some. `quarantined` rows are in the narrow table and in quarantine, so not in a wide table;
    `nulled` cells are NULL there because the connector wants that of readings that do not fit their column.
    `in_motion` were changing each time that they were looked at. `left_out` ranges were not compared, since `unfilled`
    of the backfill's `chunks` are still to be merged. `fenced` is False when a barrier did not come
    through the pipeline in time, so that a difference may be a change that is still on its way. `notices` say what
    became of the source without an event. Cells of what is `gone` from the source so are no `differences`.
    """

    connector: str
    ranges: int = 0
    rows: int = 0
    cells: int = 0
    differences: int = 0
    quarantined: int = 0
    nulled: int = 0
    in_motion: int = 0
    left_out: int = 0
    unfilled: int = 0
    chunks: int = 0
    fenced: bool = True
    captured: bool = True
    seconds: float = 0.0
    differing: list[Difference] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    gone: list[Gone] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """Wide equals pivoted narrow, cell by cell, in all that there is; what is gone was acknowledged."""
        same = self.differences == 0 and self.in_motion == 0 and self.left_out == 0
        return same and all(each.acknowledged for each in self.gone)

    @property
    def proven(self) -> bool:
        """It is right, and there was something to compare."""
        return self.right and self.cells > 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON, whose readers take numbers of at most 64 bits: sums of hashes, which may have more, are texts."""
        made = asdict(self)
        for each in made["gone"]:
            each["total"] = str(each["total"])
        return made
