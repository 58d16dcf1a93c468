"""Zones by the rules of the package: the machine's own files do not count."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.clock import zones
from cdc.source.time_encoding import parsed, printed

ODD = ["Europe/Paris", "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns", "America/Sao_Paulo", "Asia/Kolkata"]


def at(text: str) -> int:
    return parsed(text)


@pytest.mark.parametrize("name", ["Nowhere/Land", "../etc/passwd", "/etc/localtime", "", "Europe", "zones"])
def test_a_name_that_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(zones.UnknownZone):
        zones.zone(name)


def test_the_machine_s_rules_are_never_asked(tmp_path) -> None:
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe" / "Oslo").write_bytes(b"TZif of another opinion")
    script = "from cdc.clock import zones; print(zones.offset(0, 'Europe/Oslo'))"
    environment = {"PYTHONTZPATH": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "3600000000\n"


def test_a_day_that_a_zone_skipped_is_shown_by_no_clock() -> None:
    assert zones.is_skipped(at("2011-12-30 12:00:00"), "Pacific/Apia")
    assert printed(zones.first_shown(at("2011-12-30 00:00:00"), "Pacific/Apia"), zoned=True) == "2011-12-30 10:00:00+00"
    assert zones.instant(at("2011-12-31 00:00:00"), "Pacific/Apia") == at("2011-12-30 10:00:00")


def test_a_local_time_that_comes_twice_means_the_second_time() -> None:
    assert zones.instant(at("2024-10-27 02:30:00"), "Europe/Paris") == at("2024-10-27 01:30:00")
    assert zones.local_from(at("2024-10-27 00:30:00"), "Europe/Paris") == at("2024-10-27 02:00:00")
    assert zones.local_from(at("2024-04-06 14:45:00"), "Australia/Lord_Howe") == at("2024-04-07 01:30:00")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ODD), st.integers(at("1950-01-01"), at("2050-01-01")))
def test_of_local_times_those_from_a_bound_on_mean_the_moment_or_later_ones(name: str, moment: int) -> None:
    bound = zones.local_from(moment, name)
    assert zones.instant(bound, name) >= moment
    before = bound - 1
    assert zones.is_skipped(before, name) or zones.instant(before, name) < moment
