"""Raw times become wide times exactly, whatever form they have."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.clock.time_text import TimeText
from cdc.source.time_encoding import TimeRule, Untimely, parsed, printed


def written(layout, zone=None, *, rounds=False):
    return TimeRule("text", zone, written=TimeText.of(layout), rounds=rounds)


@pytest.mark.parametrize(
    ("rule", "raw", "wide"),
    [
        (TimeRule(), ("2024-01-01 00:00:00",), ("2024-01-01 00:00:00",)),
        (TimeRule(), ("infinity",), ("infinity",)),
        (TimeRule("epoch_s"), ("1700000000",), ("2023-11-14 22:13:20+00",)),
        (TimeRule("epoch_ms"), ("1700000000123",), ("2023-11-14 22:13:20.123+00",)),
        (TimeRule("epoch_us"), ("-1",), ("1969-12-31 23:59:59.999999+00",)),
        (TimeRule("epoch_ms"), ("-62198755200000",), ("0002-01-01 00:00:00+00 BC",)),
        (TimeRule("epoch_s"), ("253402300800",), ("10000-01-01 00:00:00+00",)),
        (TimeRule("epoch_float"), ("1700000000.1234567",), ("2023-11-14 22:13:20.123457+00",)),
        (TimeRule("epoch_float"), ("1.7e+09",), ("2023-11-14 22:13:20+00",)),
        (TimeRule("s_ns"), ("1700000000", "999999999"), ("2023-11-14 22:13:20+00", "999999999")),
        (TimeRule("native", bucket=15_000_000), ("2024-01-01 00:00:07.5",), ("2024-01-01 00:00:15",)),
        (TimeRule("native", bucket=15_000_000), ("2024-01-01 00:00:07.499999",), ("2024-01-01 00:00:00",)),
        (TimeRule("native", bucket=15_000_000, zoned=True), ("2024-01-01 00:00:07+00",), ("2024-01-01 00:00:00+00",)),
        (TimeRule("native", bucket=15_000_000), ("-infinity",), ("-infinity",)),
        (TimeRule("s_ns", bucket=1_000_000), ("1700000000", "500000000"), ("2023-11-14 22:13:21+00", "0")),
        (TimeRule("native", "Europe/Oslo"), ("2024-07-01 12:00:00",), ("2024-07-01 10:00:00+00",)),
        (TimeRule("native", "Europe/Oslo"), ("2024-10-27 02:30:00",), ("2024-10-27 01:30:00+00",)),
        (TimeRule("native", "Europe/Oslo"), ("infinity",), ("infinity",)),
        (TimeRule("epoch_ns", rounds=False), ("1700000000123456000",), ("2023-11-14 22:13:20.123456+00",)),
        (TimeRule("epoch_ns"), ("-1",), ("1969-12-31 23:59:59.999999+00",)),
        (TimeRule("epoch_ms"), ("1700000000123.00",), ("2023-11-14 22:13:20.123+00",)),
        (TimeRule("epoch_us"), ("1.700000000123456e+15",), ("2023-11-14 22:13:20.123456+00",)),
        (TimeRule("epoch_float", rounds=False), ("1700000000.123456",), ("2023-11-14 22:13:20.123456+00",)),
        (written("YYYY-MM-DDTHH:MM:SS.fffZ"), ("2024-02-29T23:59:59.007Z",), ("2024-02-29 23:59:59.007+00",)),
        (written("YYYY-MM-DD HH:MM:SS[.f]+01:00"), ("2024-01-01 00:30:00.5+01:00",), ("2023-12-31 23:30:00.5+00",)),
        (written("YYYY-MM-DD HH:MM:SS[.ffffff] UTC"), ("2024-01-01 00:30:00 UTC",), ("2024-01-01 00:30:00+00",)),
        (written("YYYY-MM-DDTHH:MM"), ("2024-01-01T00:30",), ("2024-01-01 00:30:00",)),
        (written("YYYY-MM-DD", "Europe/Oslo"), ("2024-07-01",), ("2024-06-30 22:00:00+00",)),
        (
            written("YYYY-MM-DDTHH:MM:SS.fffffffffZ", rounds=True),
            ("2024-01-01T00:00:00.123456789Z",),
            ("2024-01-01 00:00:00.123456+00",),
        ),
    ],
)
def test_a_raw_time_becomes_the_text_that_the_server_prints(rule, raw, wide):
    assert rule.wide(raw) == wide


@pytest.mark.parametrize(
    ("rule", "raw", "reason"),
    [
        (TimeRule("epoch_s"), ("1.5",), "bad_time"),
        (TimeRule("epoch_s"), ("infinity",), "bad_time"),
        (TimeRule("epoch_float"), ("NaN",), "bad_time"),
        (TimeRule("epoch_float"), ("Infinity",), "bad_time"),
        (TimeRule("epoch_ms"), ("9223372036854775807",), "time_out_of_range"),
        (TimeRule("native", "Europe/Oslo"), ("2024-03-31 02:30:00",), "no_such_time"),
        (TimeRule("epoch_ns", rounds=False), ("1700000000123456789",), "time_too_fine"),
        (TimeRule("epoch_float", rounds=False), ("1700000000.1234567",), "time_too_fine"),
        (TimeRule("epoch_ms"), ("1e999999999",), "bad_time"),
        (TimeRule("epoch_ms"), ("NaN",), "bad_time"),
        (written("YYYY-MM-DDTHH:MM:SS[.f]Z"), ("2024-01-01T00:00:00.0000001Z",), "time_too_fine"),
        (written("YYYY-MM-DDTHH:MM:SS", "Europe/Oslo"), ("2024-03-31T02:30:00",), "no_such_time"),
        *[
            (written("YYYY-MM-DDTHH:MM:SS[.fff]Z"), (f"2024-01-01T00:00:00{end}",), "bad_time")
            for end in ("", "z", ".5Z", ".000Z", ".0001Z", " Z", "Z\n", "+00:00", ".\u0661\u0662\u0663Z")
        ],
        *[
            (written("YYYY-MM-DDTHH:MM:SSZ"), (text,), "bad_time")
            for text in (
                "2023-02-29T00:00:00Z",
                "2024-01-01T24:00:00Z",
                "2024-01-01T00:00:60Z",
                "0000-01-01T00:00:00Z",
                "",
                "now",
                "2024-01-01 00:00:00Z",
            )
        ],
        (TimeRule("native", "Europe/Oslo"), ("0044-03-15 00:00:00 BC",), "time_out_of_range"),
    ],
)
def test_a_time_that_no_wide_row_can_have_is_named(rule, raw, reason):
    with pytest.raises(Untimely) as untimely:
        rule.wide(raw)
    assert untimely.value.reason == reason


@settings(max_examples=300, deadline=None)
@given(st.integers(-210_866_803_200_000_000, 9_224_318_015_999_999_999), st.booleans())
def test_what_is_printed_reads_back(moment, zoned):
    assert parsed(printed(moment, zoned=zoned)) == moment


@settings(max_examples=200, deadline=None)
@given(st.integers(-(10**15), 10**16), st.integers(1, 10**10))
def test_a_bucket_s_borders_hold_exactly_what_is_rounded_to_it(moment, size):
    rule = TimeRule("epoch_us", bucket=size)
    lower, upper = rule.borders(moment)
    assert lower <= moment < upper
    assert rule.wide((str(lower),)) == rule.wide((str(moment),)) == rule.wide((str(upper - 1),))
    assert rule.wide((str(lower - 1),)) != rule.wide((str(moment),)) != rule.wide((str(upper),))
