"""The proof: wide equals pivoted narrow, cell by cell, beside a live writer.

Sums over ranges of time are computed in the databases and compared. Where a range differs, sums over its wide keys
say which of them do, and their cells are fetched. A cell counts as different only when its narrow value stood still
around a barrier, and the wide one is another one after it; twice, since a value may go and come back meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as Dict
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeAlias

import psycopg

from cdc.source.session import connect
from sink.state import notices
from snapshot.chunks.estimate import plan_chunks
from snapshot.chunks.plan import Chunk
from widebeam.verify.cells import Cells, Narrow, Sums, Wide
from widebeam.verify.checksum import WideKey
from widebeam.verify.comparison import ROUNDS, Comparison
from widebeam.verify.gone import Time, plus
from widebeam.verify.gone_runs import Run
from widebeam.verify.nulled import nulled
from widebeam.verify.proof import Difference, Gone, Place, VerifyReport, VerifySettings
from widebeam.verify.quarantined import quarantined
from widebeam.verify.verify_rows import RowComparison

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_CELLS_AT_ONCE: Final = 50_000


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


class _Comparison(Comparison):
    """By sums that the databases make."""

    at_once = 32

    def __init__(self, settings: VerifySettings, source: Session, target: Session) -> None:
        super().__init__(settings, source, target)
        self._narrow = Narrow(source, settings.mapping)
        self._wide = Wide(target, self._registry)
        self._suspects, self._size = list[WideKey](), 0

    def _ranges(self) -> list[Chunk]:
        settings = self._settings
        return plan_chunks(self._source, settings.mapping.rule, settings.chunk_rows, settings.chunk_hours)

    def _compare(self, portion: Sequence[Chunk]) -> None:
        for each in self._differing(portion):
            self._look_closer(each)
        self._settle_some(0)

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
            elif rows:
                self._gone.pass_rows()

    def _look_closer(self, chunk: Chunk, *, all_differ: bool = False) -> None:
        """Find the wide keys of a range that differ, to settle their cells, not too many of them at a time."""
        narrow = self._narrow.by_wide_key(chunk)
        wide = self._wide.by_wide_key(chunk, narrow if self._outlives else None)
        gone = frozenset[Time]() if all_differ else self._take_gone(chunk, wide)
        for key in narrow.keys() | wide.keys():
            if key.time not in gone and narrow.get(key) != wide.get(key):
                self._suspects.append(key)
                self._size += max(narrow.get(key, _NOTHING).cells, wide.get(key, _NOTHING).cells)
                self._settle_some(_CELLS_AT_ONCE)

    def _take_gone(self, chunk: Chunk, wide: Dict[WideKey, Sums]) -> AbstractSet[Time]:
        """The times of a range at which there is no narrow row at all, also none without a reading."""
        if not self._gone.known:
            return frozenset()
        by_time: dict[Time, Sums] = {}
        for key, sums in wide.items():
            by_time[key.time] = plus(by_time.get(key.time, _NOTHING), sums)
        return self._gone.take(by_time, self._narrow.times(chunk))

    def _settle_gone(self) -> list[Gone]:
        self._pass_all()
        gone = self._gone.settled(self._gone_now)
        self._settle_some(0)
        return gone

    def _gone_now(self, run: Run, chunk: Chunk) -> Run | None:
        """What a run comes to behind a barrier; where there are rows (without a reading, or new ones), it is none."""
        if self._narrow.by_range([chunk]):
            self._look_closer(chunk, all_differ=True)
            return None
        _, cells, total = self._wide.by_range([chunk]).get(0, (0, 0, 0))
        return run._replace(cells=cells, total=total)

    def _settle_some(self, most: int) -> None:
        """Settle the wide keys of ranges so far, if they have more than so many cells: each waits for barriers."""
        if self._size > most:
            self._settle(self._suspects)
            self._suspects, self._size = [], 0

    def _settle(self, keys: list[WideKey]) -> None:
        """Which cells of these wide keys really differ."""
        suspects: set[Place] | None = None  # at first: every cell of these keys
        seen_before: dict[Place, tuple[str | None, str | None]] = {}
        for _ in range(ROUNDS):
            before = self._narrow.cells(keys)
            self._pass_all()
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
