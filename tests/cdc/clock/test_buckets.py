"""Days and hours of a zone are what the server's date_trunc makes them, and no border parts one."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cdc.clock import buckets
from cdc.source.session import connect
from cdc.source.time_encoding import parsed, printed

HOUR = 3_600_000_000
DAY = 24 * HOUR
ODD = [
    ("Europe/Paris", "2024-03-31 01:00:00"),
    ("Europe/Paris", "2024-10-27 01:00:00"),
    ("Australia/Lord_Howe", "2024-04-06 15:00:00"),
    ("Australia/Lord_Howe", "2024-10-05 15:30:00"),
    ("Pacific/Apia", "2011-12-30 10:00:00"),
    ("America/St_Johns", "2010-11-07 02:31:00"),
    ("America/Sao_Paulo", "2018-11-04 03:00:00"),
    ("America/Havana", "2023-11-05 05:00:00"),
    ("Asia/Kathmandu", "1985-12-31 18:30:00"),
]
"""Zones, and when their clocks were changed: by an hour, half of one, a day, over midnight."""


@pytest.mark.parametrize(
    ("moment", "size", "zone", "begin"),
    [
        ("2024-03-31 21:59:59", DAY, "Europe/Paris", "2024-03-30 23:00:00+00"),
        ("2024-03-31 22:00:00", DAY, "Europe/Paris", "2024-03-31 22:00:00+00"),
        ("2024-10-27 22:59:59", DAY, "Europe/Paris", "2024-10-26 22:00:00+00"),
        ("2024-10-27 00:30:00", HOUR, "Europe/Paris", "2024-10-27 00:00:00+00"),
        ("2024-10-27 01:30:00", HOUR, "Europe/Paris", "2024-10-27 01:00:00+00"),
        ("2024-01-01 00:29:59", HOUR, "Asia/Kolkata", "2023-12-31 23:30:00+00"),
        ("2024-04-06 15:29:59", HOUR, "Australia/Lord_Howe", "2024-04-06 14:30:00+00"),
        ("2011-12-30 10:00:00", DAY, "Pacific/Apia", "2011-12-30 10:00:00+00"),
        ("2011-12-30 09:59:59", DAY, "Pacific/Apia", "2011-12-29 10:00:00+00"),
        ("2024-01-08 12:00:00", 7 * DAY, "Europe/Paris", "2024-01-03 23:00:00+00"),
    ],
)
def test_a_bucket_of_a_zone_begins_where_its_clocks_say(moment: str, size: int, zone: str, begin: str) -> None:
    assert printed(buckets.begin(parsed(moment), size, zone), zoned=True) == begin


def test_days_and_hours_are_those_of_the_server(database: str) -> None:
    step = 17 * 60_000_000
    moments = [(zone, parsed(change) + n * step) for zone, change in ODD for n in range(-120, 120)]
    asked = "SELECT date_trunc(%s, t, z)::text FROM unnest(%s::timestamptz[], %s::text[]) WITH ORDINALITY AS u(t, z, n)"
    parameters = [[printed(moment, zoned=True) for _, moment in moments], [zone for zone, _ in moments]]
    with connect(database) as session:
        for unit, size in (("hour", HOUR), ("day", DAY)):
            server = [each for (each,) in session.execute(f"{asked} ORDER BY n", [unit, *parameters])]
            assert [printed(buckets.begin(moment, size, zone), zoned=True) for zone, moment in moments] == server


@settings(max_examples=200, deadline=None)
@example(("America/St_Johns", "2010-11-07 02:31:00"), 0, HOUR // 2)
@given(st.sampled_from(ODD), st.integers(-60, 60), st.sampled_from([HOUR // 2, HOUR, 2 * HOUR, 6 * HOUR, DAY, 3 * DAY]))
def test_borders_part_no_bucket_of_a_zone(odd: tuple[str, str], hours: int, size: int) -> None:
    zone, change = odd
    moment = parsed(change) + hours * HOUR // 2 + 1
    borders = buckets.borders(moment, size, zone)
    assert borders[0] <= moment < borders[1]
    around = range(moment - 2 * size - 27 * HOUR, moment + 2 * size + 27 * HOUR, 7 * 60_000_000)
    for border in borders:
        below = {buckets.begin(each, size, zone) for each in (*around, border - 1) if each < border}
        above = {buckets.begin(each, size, zone) for each in (*around, border) if each >= border}
        assert max(below) < min(above)


@pytest.mark.parametrize(("zone", "change"), ODD)
@pytest.mark.parametrize("size", [HOUR // 2, HOUR, DAY])
def test_one_range_follows_the_other(zone: str, change: str, size: int) -> None:
    moment = parsed(change) - 2 * max(size, 6 * HOUR)
    for _ in range(40):
        _, upper = buckets.borders(moment, size, zone)
        assert buckets.borders(upper, size, zone)[0] == upper
        moment = upper
