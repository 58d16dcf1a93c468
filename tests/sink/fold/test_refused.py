"""Which values of a record the target refuses is found by leaving some out, and then no more is left out than that."""

from __future__ import annotations

import pytest

from cdc.lsn import Lsn
from cdc.record.envelope import decode
from cdc.record.record import Changes, Stamp
from sink.fold.batch import CLEAN, WHOLE, Batch, Entry, Poison
from sink.fold.refused import left_out, refused_rows


class Target:
    """Refuses rows among which are all of any of these sets; counts how often it is asked."""

    def __init__(self, *bad: set[int]) -> None:
        self.bad, self.asked = bad, 0

    def refuses(self, tried) -> bool:
        self.asked += 1
        return any(each <= tried for each in self.bad)


@pytest.mark.parametrize("bad", [{0}, {249}, {17}, {17, 18}, {0, 124, 249}])
def test_the_refused_rows_are_found_whichever_they_are(bad):
    target = Target(*({n} for n in bad))
    assert refused_rows(range(250), target.refuses) == bad
    assert target.asked <= 16 * len(bad)


def test_rows_that_are_only_refused_together_are_left_out_together():
    assert refused_rows(range(8), Target({4, 7}).refuses) == {4, 5, 6, 7}


def test_where_most_are_refused_all_are_left_out_before_each_is_tried():
    target = Target(*({n} for n in range(250)))
    assert refused_rows(range(250), target.refuses) == set(range(250))
    assert target.asked <= 64


def test_one_row_alone_is_not_tried_again():
    target = Target({3})
    assert refused_rows([3], target.refuses) == {3}
    assert target.asked == 0


@pytest.fixture
def batch(mapping):
    rows = [["i", "a", "1"], ["d", "b", None], ["u", "c", "odd"], ["i", "d", "3"]]
    changes = Changes(Stamp("ships", 1, 0, Lsn(8), 1, 0), "t", {}, ["key", "value"], rows)
    return Batch(mapping, decode, {}, entries=[Entry(changes, "0:0", False, CLEAN)])


def test_as_little_as_can_be_is_left_out_and_more_if_that_is_refused_too(batch):
    found = left_out(batch, lambda poison: 2 not in poison.rows)
    assert found == [Poison(frozenset({2})), Poison(frozenset({0, 2, 3})), WHOLE]


def test_a_record_whose_cells_cannot_even_be_cleared_is_not_taken_apart(batch):
    asked = []
    assert left_out(batch, lambda poison: not asked.append(poison)) == [WHOLE]
    assert asked == [Poison(frozenset({0, 2, 3}))]
