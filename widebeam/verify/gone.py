"""What is in the wide tables though its rows are gone from the source without an event: a partition was dropped, say.

That is no difference of single cells. It is told as ranges of time in which the narrow tables have no row at all, and
somebody can acknowledge that such a range stays as it is. Nothing is taken for that unless a notice tells that
something is gone, or a range was acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Final, TypeAlias

import psycopg

from sink.mapping.rule import Rule
from sink.state import notices
from snapshot.chunks.plan import Chunk
from snapshot.chunks.scale import TimeScale, UnknownTimeType
from widebeam.state import acknowledged
from widebeam.state.acknowledged import Acknowledged
from widebeam.verify.cells import Sums
from widebeam.verify.gone_runs import GoneRuns, Run
from widebeam.verify.proof import Gone

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"
Time: TypeAlias = "tuple[str | None, ...]"

_NONE: Final = Sums(0, 0)
_STARTED: Final = "SELECT now()"


class GoneMoments:
    """Moments of the wide tables at which no narrow table has a row, as one run of verify finds them."""

    def __init__(self, target: Session, connector: str, rule: Rule, *, outlives: bool) -> None:
        self._target, self._connector = target, connector
        self._scale = _scale(rule)
        self._acknowledged = acknowledged.load(target, connector)
        self._started = target.execute(_STARTED).fetchone()
        told = any(each.kind == "gone" for each in notices.load(target, connector))
        self.known = self._scale is not None and not outlives and (told or bool(self._acknowledged))
        self._runs = GoneRuns(self._span(each) for each in self._acknowledged if self._scale is not None)

    def pass_rows(self) -> None:
        """The narrow tables have rows in the range that comes next."""
        self._runs.pass_rows()

    def take(self, wide: Mapping[Time, Sums], narrow: Iterable[Time]) -> frozenset[Time]:
        """Take the times of a range that only the wide tables have; those that were taken are no differences."""
        there = frozenset(narrow)
        gone = {time: moment for time in wide.keys() - there if (moment := self._moment(time)) is not None}
        if not self.known or not gone:
            if there:
                self._runs.pass_rows()
            return frozenset()
        sums: dict[int, Sums] = {}
        for time, moment in gone.items():
            sums[moment] = plus(sums.get(moment, _NONE), wide[time])
        self._runs.take(sums, filter(None, map(self._moment, there)))
        return frozenset(gone)

    def settled(self, now: Callable[[Run, Chunk], Run | None] = lambda run, _: run) -> list[Gone]:
        """The ranges, once all is compared. `now` says what a run comes to by now; None if it is no gone one."""
        ranges = [(run, self._chunk(run)) for run in self._runs.runs]
        looked_at = [found for run, chunk in ranges if (found := now(run, chunk)) is not None and found.cells]
        return [self._gone(run) for run in looked_at]

    def acknowledge(self, gone: Iterable[Gone]) -> list[Gone]:
        """Write all of these ranges down as ones that may stay; the notices of what is gone are heard."""
        every = list(gone)
        new = [Acknowledged(each.lower, each.upper, each.cells, each.total) for each in every if not each.acknowledged]
        old = [each for each in self._acknowledged if not any(self._meet(each, one) for one in new)]
        with self._target.transaction():
            acknowledged.replace(self._target, self._connector, [*old, *new])
            if self._started is not None:
                notices.heard(self._target, self._connector, "gone", self._started[0])
        return [replace(each, acknowledged=True) for each in every]

    @property
    def _step(self) -> int:
        return 1 if self._scale is None else self._scale.step

    def _moment(self, time: Time) -> int | None:
        """Where a time lies; None where it has no place on the axis."""
        text = time[0] if len(time) == 1 else None
        if text is None or self._scale is None or not text[:1].isdigit() or text.endswith("BC") or text.index("-") > 4:
            return None
        return self._scale.position(text)

    def _chunk(self, run: Run) -> Chunk:
        return Chunk(1, self._text(run.first), self._text(run.last + self._step), 0)

    def _text(self, moment: int) -> str:
        return "" if self._scale is None else self._scale.text(moment)

    def _span(self, each: Acknowledged) -> tuple[int, int]:
        return self._moment((each.lower,)) or 0, self._moment((each.upper,)) or 0

    def _meet(self, one: Acknowledged, other: Acknowledged) -> bool:
        (lower, upper), (first, last) = self._span(one), self._span(other)
        return lower <= last and first <= upper

    def _gone(self, run: Run) -> Gone:
        lower, upper = self._text(run.first), self._text(run.last)
        made = Gone(lower, upper, run.moments, run.cells, int(run.total))
        for each in self._acknowledged:
            first, last = self._span(each)
            if first <= run.first and run.last <= last:
                same = (each.cells, each.total) == (run.cells, run.total)
                return replace(made, acknowledged=same, by=each.by, at=each.at, had=each.cells)
        return made


def plus(one: Sums, other: Sums) -> Sums:
    """Both together."""
    return Sums(one.cells + other.cells, one.total + other.total)


def hashed(*texts: str | None) -> Sums:
    """One cell, by all of its texts."""
    said = blake2b("\x1f".join(text or "" for text in texts).encode(), digest_size=7).digest()
    return Sums(1, int.from_bytes(said))


def _scale(rule: Rule) -> TimeScale | None:
    """How the wide tables' time lies on the axis of moments."""
    for type_text in rule.time_types.values():
        try:
            return TimeScale.of(type_text)
        except UnknownTimeType:
            return None
    return None
