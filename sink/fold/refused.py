"""What of a record the target refuses, found by trying. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from sink.fold.batch import WHOLE, Batch, Poison
from sink.fold.pivot import setting

_MOST: Final = 64
"""Attempts for one record. Where most of its values are refused, each on its own would take hundreds."""


def left_out(batch: Batch, refuses: Callable[[Poison], bool]) -> list[Poison]:
    """What to leave out of a batch of one record that the target refuses: as little as can be; more, if that is not it.

    `refuses` tells whether it is refused without so much.
    """
    rows = frozenset(n for entry in batch.entries for n in setting(entry.changes))
    if not rows or refuses(Poison(rows)):
        return [WHOLE]
    found = refused_rows(sorted(rows), lambda tried: refuses(Poison(rows - tried)))
    return [Poison(found), Poison(rows), WHOLE]


def refused_rows(rows: Sequence[int], refused: Callable[[AbstractSet[int]], bool]) -> frozenset[int]:
    """Those of the rows without which the rest is taken, by halves: all of them, if that takes too many attempts.

    `rows` are refused together, and `refused` tells whether some of them, without the others, are. Rows that are only
    refused together all count.
    """
    found: set[int] = set()
    waiting, attempts = [rows], 0
    while waiting:
        some = waiting.pop()
        if attempts + 2 > _MOST:
            return frozenset(rows)
        halves = [] if len(some) == 1 else [some[: len(some) // 2], some[len(some) // 2 :]]
        attempts += len(halves)
        guilty = [half for half in halves if refused(frozenset(half))]
        waiting += guilty
        if not guilty:
            found.update(some)
    return frozenset(found)
