"""Going back in a partition: the progress from which its records are applied again. Pure.

The skip rule starts anew, for every position from there on is below the highest one seen. The rule of generations must
not: whose records count at that place, and whether that run of capture had failed before it, is what the sinks knew
when they came by the first time. They wrote it down as landmarks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cdc.record import Stamp
from sink.progress import Landmark, Progress


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
    before = [mark for mark in landmarks if mark.began_offset is not None and mark.began_offset < offset]
    start = Progress(now.partition, now.epoch + 1, offset)
    if not before:
        return start
    mark = max(before, key=lambda each: each.generation)
    start = start._replace(generation=mark.generation)
    gap = mark.broke_offset
    if gap is not None and gap < offset:
        return start._replace(broken=True)
    following = [each.began_offset for each in landmarks if each.generation > mark.generation]
    end = min([now.next_offset, *(began for began in following if began is not None)])
    for place in places:
        if place.offset >= end:
            break
        if place.stamp.generation == mark.generation:
            # If this very record stands behind the gap, nothing of its generation lies between: the gap is here.
            return start._replace(next_sequence=place.stamp.sequence, broken=gap is not None and gap <= place.offset)
    return start._replace(next_sequence=now.next_sequence if mark.generation == now.generation else 0)
