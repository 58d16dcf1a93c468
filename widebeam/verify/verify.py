"""The proof: wide equals pivoted narrow, cell by cell, beside a live writer.

Sums over ranges of time are computed in the databases and compared. Where a range differs, sums over its wide keys
say which of them do, and their cells are fetched. A cell counts as different only when its narrow value stood still
around a barrier, and the wide one is another one after it; twice, since a value may go and come back meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, Final, TypeAlias

import psycopg

from cdc.source.session import connect
from sink.state import notices
from sink.wide.registry import Registry
from snapshot.chunks.estimate import plan_chunks
from snapshot.chunks.plan import Chunk
from widebeam.verify.cells import Cells, Narrow, Sums, Wide
from widebeam.verify.checksum import WideKey
from widebeam.verify.fence import Fence
from widebeam.verify.nulled import nulled
from widebeam.verify.proof import Difference, Place, VerifyReport, VerifySettings
from widebeam.verify.quarantined import quarantined
from widebeam.verify.unfinished import unfinished
from widebeam.verify.verify_rows import RowComparison

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_RANGES_AT_ONCE: Final = 32
_CELLS_AT_ONCE: Final = 50_000
_ROUNDS: Final = 8


def verify(settings: VerifySettings, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
    """Compare everything. `progress` is called with the number of ranges that are compared, and of all.

    Raises Halt when a wide table or column is gone.
    """
    name = "widebeam-verify"
    with (
        connect(settings.source_dsn, autocommit=True, application_name=name) as source,
        connect(settings.target_dsn, autocommit=True, application_name=name) as target,
    ):
        plain = settings.mapping.plain
        comparison = _Comparison(settings, source, target) if plain else RowComparison(settings, source, target)
        row = target.execute("SELECT now()").fetchone()
        report = comparison.run(progress or (lambda done, of: None))
        if report.right and report.fenced and not report.in_motion and row is not None:
            notices.settle(target, settings.mapping.connector, row[0])
        report.notices = [one.what for one in notices.load(target, settings.mapping.connector)]
        return report


class _Comparison:
    """One run of verify."""

    def __init__(self, settings: VerifySettings, source: Session, target: Session) -> None:
        self._settings, self._source, self._target = settings, source, target
        self._registry = Registry(settings.mapping)
        self._narrow = Narrow(source, settings.mapping)
        self._wide = Wide(target, self._registry)
        # What a purge removes from the narrow table stays: only what the source still has is compared.
        self._outlives = "ignore" in (settings.mapping.on_delete, settings.mapping.on_truncate)
        self._report = VerifyReport(settings.mapping.connector, captured=settings.captured)
        self._suspects, self._size = list[WideKey](), 0
        self._fence = Fence(source, target, settings.mapping.connector, settings.patience)

    def run(self, progress: Callable[[int, int], None]) -> VerifyReport:
        began, report = monotonic(), self._report
        self._registry.refresh(self._target)
        self._registry.check(self._target)
        self._fence.pass_all()
        self._registry.refresh(self._target)
        open_ = unfinished(self._target, self._settings.mapping)
        ranges, left_out = open_.left_out(self._settings.mapping, self._plan())
        report.left_out, report.unfilled, report.chunks = len(left_out), open_.chunks, open_.of
        for start in range(0, len(ranges), _RANGES_AT_ONCE):
            batch = ranges[start : start + _RANGES_AT_ONCE]
            for each in self._differing(batch):
                self._look_closer(each)
            self._settle_some(0)
            report.ranges += len(batch)
            progress(report.ranges, len(ranges))
        report.fenced = self._fence.holds
        report.seconds = round(monotonic() - began, 3)
        return report

    def _plan(self) -> list[Chunk]:
        settings = self._settings
        return plan_chunks(self._source, settings.mapping.rule, settings.chunk_rows, settings.chunk_hours)

    def _differing(self, batch: Sequence[Chunk]) -> Iterator[Chunk]:
        """The ranges in which the sums differ; both databases count at the same time."""
        with ThreadPoolExecutor(1) as other:
            counting = other.submit(self._wide.by_range, batch)
            narrow = self._narrow.by_range(batch)
            wide = counting.result()
        for index, each in enumerate(batch):
            rows, cells, total = narrow.get(index, (0, 0, 0))
            self._report.rows += rows
            self._report.cells += cells
            if (cells, total) != wide.get(index, (0, 0, 0))[1:]:
                yield each

    def _look_closer(self, chunk: Chunk) -> None:
        """Find the wide keys of a range that differ, to settle their cells, not too many of them at a time."""
        narrow = self._narrow.by_wide_key(chunk)
        wide = self._wide.by_wide_key(chunk, narrow if self._outlives else None)
        for key in narrow.keys() | wide.keys():
            if narrow.get(key) != wide.get(key):
                self._suspects.append(key)
                self._size += max(narrow.get(key, _NOTHING).cells, wide.get(key, _NOTHING).cells)
                self._settle_some(_CELLS_AT_ONCE)

    def _settle_some(self, most: int) -> None:
        """Settle the wide keys of ranges so far, if they have more than so many cells: each waits for barriers."""
        if self._size > most:
            self._settle(self._suspects)
            self._suspects, self._size = [], 0

    def _settle(self, keys: list[WideKey]) -> None:
        """Which cells of these wide keys really differ."""
        suspects: set[Place] | None = None  # at first: every cell of these keys
        seen_before: dict[Place, tuple[str | None, str | None]] = {}
        for _ in range(_ROUNDS):
            before = self._narrow.cells(keys)
            self._fence.pass_all()
            self._registry.refresh(self._target)
            wide = self._wide.cells(keys)
            after = self._narrow.cells(keys)
            places = self._places(before, wide, after) if suspects is None else suspects
            moving = {place for place in places if before.get(place) != after.get(place)}
            unequal = {place for place in places - moving if wide.get(place) != after.get(place)}
            found = {place: (after.get(place), wide.get(place)) for place in unequal}
            proven = {place: pair for place, pair in found.items() if seen_before.get(place) == pair}
            self._count(proven)
            seen_before = found
            suspects = moving | (unequal - proven.keys())
            if not suspects:
                return
            keys = list({WideKey(place.entity, place.time) for place in suspects})
        self._report.in_motion += len(suspects or ())

    def _places(self, *sides: Cells) -> set[Place]:
        """All cells; or, where the wide tables outlive the narrow one, those that the source has."""
        before, wide, after = sides
        narrow = before.keys() & after.keys() if self._outlives else before.keys() | after.keys()
        return set(narrow) if self._outlives else {*narrow, *wide.keys()}

    def _count(self, proven: dict[Place, tuple[str | None, str | None]]) -> None:
        """Count cells that differ, and name some; those that lie in quarantine are counted apart."""
        if not proven:
            return
        known = quarantined(self._target, self._settings.mapping, proven)
        meant = nulled(self._narrow, self._registry, {place: proven[place] for place in proven.keys() - known})
        self._report.quarantined += len(known)
        self._report.nulled += len(meant)
        for place in sorted(proven.keys() - known - meant, key=str):
            self._report.differences += 1
            if len(self._report.differing) < self._settings.named:
                narrow, wide = proven[place]
                self._report.differing.append(Difference(*place[:3], narrow, wide))


_NOTHING: Final = Sums(0, 0)
