"""One run of verify, whichever way the ranges are compared: what comes before the first one and after the last one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final, TypeAlias

import psycopg

from sink.wide.registry import Registry
from snapshot.chunks.plan import Chunk
from widebeam.verify.fence import Fence
from widebeam.verify.gone import GoneMoments
from widebeam.verify.proof import Gone, VerifyReport, VerifySettings
from widebeam.verify.unfinished import unfinished

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

ROUNDS: Final = 8
"""Looks at a cell that changes each time."""


class Comparison(ABC):
    """Compares range by range, in the order of time."""

    at_once = 1
    """Ranges of one portion."""

    def __init__(self, settings: VerifySettings, source: Session, target: Session) -> None:
        self._settings, self._mapping = settings, settings.mapping
        self._source, self._target = source, target
        self._registry = Registry(settings.mapping)
        # What a purge removes from the narrow table stays: only what the source still has is compared.
        self._outlives = "ignore" in (self._mapping.on_delete, self._mapping.on_truncate)
        self._report = VerifyReport(self._mapping.connector, captured=settings.captured)
        self._fence = Fence(source, target, self._mapping.connector, settings.patience)
        self._gone = GoneMoments(target, self._mapping.connector, self._mapping.rule, outlives=self._outlives)

    def run(self, progress: Callable[[int, int], None]) -> VerifyReport:
        """Compare all ranges that are filled in."""
        began, report = monotonic(), self._report
        self._registry.refresh(self._target)
        self._registry.check(self._target)
        self._pass_all()
        open_ = unfinished(self._target, self._mapping)
        ranges, left_out = open_.left_out(self._mapping, self._ranges())
        report.left_out, report.unfilled, report.chunks = len(left_out), open_.chunks, open_.of
        for start in range(0, len(ranges), self.at_once):
            portion = ranges[start : start + self.at_once]
            self._compare(portion)
            report.ranges += len(portion)
            progress(report.ranges, len(ranges))
        if self._gone.known:
            report.gone = self._settle_gone()
            if self._settings.acknowledge:
                report.gone = self._gone.acknowledge(report.gone)
        report.fenced = self._fence.holds
        report.seconds = round(monotonic() - began, 3)
        return report

    def _pass_all(self) -> None:
        """All that is committed by now comes through first."""
        self._fence.pass_all()
        self._registry.refresh(self._target)

    @abstractmethod
    def _ranges(self) -> list[Chunk]:
        """Ranges that lie end to end."""

    @abstractmethod
    def _compare(self, portion: Sequence[Chunk]) -> None:
        """Compare some of them."""

    @abstractmethod
    def _settle_gone(self) -> list[Gone]:
        """The ranges that are gone, once all others are compared."""
