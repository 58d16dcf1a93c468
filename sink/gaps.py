"""Gaps in the log: a generation that has one is followed by the next one, or the log has lost records."""

from __future__ import annotations

import time
from collections.abc import Iterable

from sink.fold.progress import Progress
from sink.state import halts


class Gaps:
    """The partitions in which nothing is taken any more, and since when. `patience` is in seconds."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._since: dict[tuple[int, int], float] = {}

    def watch(self, known: Iterable[Progress]) -> None:
        """Raise Halt if a generation has had a gap for longer, and no other one has begun."""
        now = time.monotonic()
        broken = [progress for progress in known if progress.broken]
        places = {(progress.partition, progress.generation) for progress in broken}
        self._since = {place: self._since.get(place, now) for place in places}
        for progress in broken:
            if now - self._since[progress.partition, progress.generation] > self._patience:
                raise halts.log_incomplete(progress, self._patience)
