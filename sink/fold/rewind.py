"""Going back in a partition: the progress from which its records are applied again. Pure.

What is applied again has to be a tail of what was applied, in the same order: the wide tables are then where they were
at its end. So neither rule starts from nothing. Whose records count at that place, whether that run of capture had
failed before it, and which positions were redeliveries there is what the sinks knew when they came by the first time;
they wrote it down as landmarks. (With a skip rule that starts anew, a redelivered piece is applied that was not, and a
second replay that skips it leaves the table in between: tests/model found it.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cdc.lsn import Lsn
from cdc.record.record import Stamp
from sink.fold.progress import Landmark, Progress


class Place(NamedTuple):
    """A record of ours in a partition's log."""

    offset: int
    stamp: Stamp


class Stretch(NamedTuple):
    """Offsets from `begin` on and before `end`, in which the records of one generation count and no others."""

    generation: int
    begin: int
    end: int


def stretches(landmarks: Sequence[Landmark], first: int, end: int) -> list[Stretch]:
    """What lies from offset `first` on and before `end`, generation by generation."""
    begins = sorted((mark.began_offset, mark.generation) for mark in landmarks if mark.began_offset is not None)
    ends = [*(began for began, _ in begins), end][1:]
    found = [
        Stretch(generation, max(began, first), min(stop, end))
        for (began, generation), stop in zip(begins, ends, strict=False)
    ]
    return [each for each in found if each.begin < each.end]


def rewound(now: Progress, offset: int, landmarks: Sequence[Landmark], places: Iterable[Place]) -> Progress:
    """The progress with which `offset`, which `now` is past, is the next one; in a new epoch.

    `places` are the records from `offset` on, read as far as needed: up to the first one of the generation that the
    offset lies in, which says what its sequence had come to.
    """
    start = Progress(now.partition, now.epoch + 1, offset)
    before = [mark for mark in landmarks if mark.began_offset is not None and mark.began_offset < offset]
    if not before:
        return start
    mark = max(before, key=lambda each: each.generation)
    end, high = _end(now, [each for each in landmarks if each.generation > mark.generation])
    # Where none of the generation's records is applied again, nothing is until its end: what was highest then is now.
    start = start._replace(generation=mark.generation, high=high)
    gap = mark.broke_offset
    if gap is not None and gap < offset:
        return start._replace(broken=True)
    for place in places:
        if place.offset >= end:
            break
        if place.stamp.generation == mark.generation:
            if gap is not None and gap <= place.offset:
                # This very record stands behind the gap; nothing of its generation lies between: the gap is here.
                return start._replace(next_sequence=place.stamp.sequence, broken=True)
            # A generation's positions never go back: from here on only what came before it has to be known.
            return start._replace(next_sequence=place.stamp.sequence, high=mark.high)
    if mark.generation == now.generation:
        return start._replace(next_sequence=now.next_sequence, broken=now.broken)
    return start


def _end(now: Progress, following: Sequence[Landmark]) -> tuple[int, Lsn]:
    """Where a generation's records end that `now` is past, and the highest position that was applied by then."""
    begins = [(each.began_offset, each.high) for each in following if each.began_offset is not None]
    return min([(now.next_offset, now.high), *begins], key=lambda each: (each[0], -each[1]))
