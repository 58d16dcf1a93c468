"""Runs of moments that the wide tables have and the narrow ones do not: what a dropped partition leaves behind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from widebeam.verify.cells import Sums


class Run(NamedTuple):
    """Moments one after the other, from the first to the last, between which there is no narrow row."""

    first: int
    last: int
    moments: int
    cells: int
    total: int


class GoneRuns:
    """Made while ranges are compared, in the order of time.

    `bounds` are spans, both ends in them, at whose ends a run ends too: so that each run lies wholly in one, or wholly
    outside of all.
    """

    def __init__(self, bounds: Iterable[tuple[int, int]] = ()) -> None:
        self.runs: list[Run] = []
        self._cuts = sorted({cut for lower, upper in bounds for cut in (lower, upper + 1)})
        self._next, self._open = 0, False

    def pass_rows(self) -> None:
        """The narrow tables have rows here."""
        self._open = False

    def take(self, gone: Mapping[int, Sums], there: Iterable[int]) -> None:
        """Moments of the next range: those that only the wide tables have, and those of narrow rows."""
        events: Sequence[tuple[int, Sums | None]] = sorted(
            [*gone.items(), *((moment, None) for moment in there)], key=lambda event: event[0]
        )
        for moment, sums in events:
            while self._next < len(self._cuts) and self._cuts[self._next] <= moment:
                self._next += 1
                self._open = False
            if sums is None:
                self._open = False
            else:
                self._add(moment, sums)

    def _add(self, moment: int, sums: Sums) -> None:
        if not self._open:
            self.runs.append(Run(moment, moment, 1, sums.cells, sums.total))
            self._open = True
            return
        run = self.runs[-1]
        self.runs[-1] = Run(run.first, moment, run.moments + 1, run.cells + sums.cells, run.total + sums.total)
