"""A text column's times are written in one way, in which each moment has one text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.clock.time_text import TimeText, layouts

LAYOUTS = [
    f"YYYY-MM-DD{between}HH:MM{seconds}{zone}"
    for between in "T "
    for seconds in ("", ":SS", ":SS.f", ":SS.fff", ":SS.ffffff", ":SS[.fff]", ":SS[.ffffff]", ":SS[.f]")
    for zone in ("", "Z", " UTC", "+00", "+0530", "-03:30")
] + ["YYYY-MM-DD"]


def way(layout):
    found = TimeText.of(layout)
    assert found is not None
    return found


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(LAYOUTS), st.integers(-62_135_500_000_000_000, 253_402_200_000_000_000))
def test_a_moment_is_written_in_one_way_and_reads_back(layout, moment):
    written = way(layout)
    rest = moment % 1_000 if ".fff]" in layout else moment % written.step
    text = written.text(moment - rest)
    assert written.nanoseconds(text) == (moment - rest) * 1000
    assert layout in layouts(text)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([each for each in LAYOUTS if way(each).fixed]), st.integers(0, 10**16), st.integers(0, 10**9))
def test_texts_of_one_length_lie_in_the_order_of_their_moments(layout, moment, later):
    written = way(layout)
    moments = moment, moment + later * written.step
    assert (written.text(moments[0]) < written.text(moments[1])) == (later > 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-01", ["YYYY-MM-DD"]),
        ("2024-01-01T10:00", ["YYYY-MM-DDTHH:MM"]),
        ("2024-01-01 10:00:00.250+01:00", ["YYYY-MM-DD HH:MM:SS.fff+01:00", "YYYY-MM-DD HH:MM:SS[.fff]+01:00"]),
        ("2024-01-01T10:00:00.5-0330", ["YYYY-MM-DDTHH:MM:SS.f-0330", "YYYY-MM-DDTHH:MM:SS[.f]-0330"]),
        ("2024-13-01", []),
        ("12.5", []),
        ("", []),
    ],
)
def test_a_text_shows_the_ways_in_which_it_may_be_written(text, expected):
    assert [each for each in layouts(text) if each in expected] == expected
    assert bool(layouts(text)) == bool(expected)


@pytest.mark.parametrize(
    "layout", ["", "epoch_ms", "YYYY-MM-DDTHH", "DD.MM.YYYY", "YYYY-MM-DDTHH:MM:SS.ffffffffff", "YYYY-MM-DDTHH:MM+99"]
)
def test_what_shows_no_way_to_write_is_none(layout):
    assert TimeText.of(layout) is None
