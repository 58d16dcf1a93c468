"""Going back to any offset: the records from there on are judged as they were the first time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.lsn import Lsn
from cdc.record.record import Changes, Stamp
from sink.fold.progress import Admission, Landmark, Progress
from sink.fold.rewind import Place, Stretch, rewound, stretches

RECORDS = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 4), st.integers(0, 2)), max_size=14)
"""Generation, sequence, and how much further than the generation's last one a record's position is: runs, zombies, gaps
and redeliveries in any order."""


def stamped(records: list[tuple[int, int, int]]) -> list[Stamp]:
    reached: dict[int, int] = {}
    stamps = []
    for generation, sequence, step in records:
        reached[generation] = reached.get(generation, 0) + step
        stamps.append(stamp(generation, sequence, reached[generation]))
    return stamps


def stamp(generation: int, sequence: int, position: int) -> Stamp:
    return Stamp("ships", generation, sequence, Lsn(position), 1, 1_000_000)


def admissions(stamps: list[Stamp], known: Progress) -> tuple[list[bool], Admission]:
    admission = Admission(known)
    taken = [
        admission.admit(known.next_offset + number, Changes(each, "t", {}, [], []))
        for number, each in enumerate(stamps)
    ]
    return taken, admission


def written_down(admission: Admission) -> list[Landmark]:
    """As widebeam.generations keeps them."""
    kept: dict[int, Landmark] = {}
    for mark in admission.landmarks:
        began = mark.broke_offset if mark.began_offset is None else mark.began_offset
        before = kept.get(mark.generation, mark._replace(began_offset=began, broke_offset=None))
        kept[mark.generation] = before._replace(broke_offset=before.broke_offset or mark.broke_offset)
    return list(kept.values())


@given(RECORDS, st.data())
def test_from_any_offset_the_same_records_count_as_the_first_time(records, data):
    stamps = stamped(records)
    offset = data.draw(st.integers(0, len(stamps)))
    _, all_of_it = admissions(stamps, Progress(0))
    _, up_to_there = admissions(stamps[:offset], Progress(0))
    places = (Place(number, each) for number, each in list(enumerate(stamps))[offset:])
    again = rewound(all_of_it.now, offset, written_down(all_of_it), places)
    assert (again.epoch, again.next_offset) == (1, offset)
    right, _ = admissions(stamps[offset:], up_to_there.now)
    assert admissions(stamps[offset:], again)[0] == right


@given(RECORDS, st.data())
def test_a_second_replay_before_the_first_has_come_to_its_end_is_no_different(records, data):
    stamps = stamped(records)
    first = data.draw(st.integers(0, len(stamps)))
    reached = data.draw(st.integers(first, len(stamps)))
    second = data.draw(st.integers(0, reached))
    _, all_of_it = admissions(stamps, Progress(0))
    _, up_to_there = admissions(stamps[:second], Progress(0))
    marks = written_down(all_of_it)

    def back(now: Progress, offset: int) -> Progress:
        return rewound(now, offset, marks, (Place(n, each) for n, each in list(enumerate(stamps))[offset:]))

    _, under_way = admissions(stamps[first:reached], back(all_of_it.now, first))
    right, _ = admissions(stamps[second:], up_to_there.now)
    assert admissions(stamps[second:], back(under_way.now, second))[0] == right


@pytest.mark.parametrize("offset", range(6))
def test_a_redelivery_that_was_skipped_is_skipped_by_a_replay_from_anywhere(offset):
    stamps = [stamp(1, 0, 8), stamp(1, 1, 16), stamp(2, 0, 8), stamp(2, 1, 8), stamp(2, 2, 16)]
    right, done = admissions(stamps, Progress(0))
    assert right == [True, True, False, False, True]
    again = rewound(done.now, offset, written_down(done), [Place(n, each) for n, each in enumerate(stamps)][offset:])
    assert admissions(stamps[offset:], again)[0] == right[offset:]


def test_a_zombie_s_record_at_the_point_does_not_become_the_generation_that_counts():
    stamps = [stamp(1, 0, 8), stamp(2, 0, 8), stamp(1, 5, 16), stamp(2, 1, 16)]
    _, done = admissions(stamps, Progress(0))
    places = [Place(2, stamps[2]), Place(3, stamps[3])]
    again = rewound(done.now, 2, written_down(done), places)
    assert (again.generation, again.next_sequence) == (2, 1)
    assert admissions(stamps[2:], again)[0] == [False, True]


def test_stretches_are_cut_to_what_the_log_still_has():
    marks = [Landmark(0, 1, 0, None), Landmark(0, 2, 10, 15), Landmark(0, 4, 20, None)]
    assert stretches(marks, 12, 30) == [Stretch(2, 12, 20), Stretch(4, 20, 30)]
    assert stretches(marks, 0, 10) == [Stretch(1, 0, 10)]
    assert stretches([], 0, 10) == []
