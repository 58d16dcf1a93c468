"""The command that runs the tests elsewhere: what it does where a condition cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import elsewhere
from tests.elsewhere import CONDITIONS, PART, PLACES, ROOT, Place, prepared


def test_each_condition_holds_in_one_place_and_each_file_is_there() -> None:
    assert sorted(name for place in PLACES for name in place) == sorted(CONDITIONS)
    assert [file for file in PART if not (ROOT / file).exists()] == []


def test_what_cannot_be_had_is_said_and_the_other_conditions_hold(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    skipped: list[str] = []
    with prepared(["one-core", "umask-077", "homeless"], skipped) as place:
        assert (place.umask, "HOME" in place.environment, place.before) == (0o077, False, [])
    assert skipped == ["one-core: without taskset (apt-get install util-linux)"]


def test_of_two_runs_a_red_one_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = Place(before=["mkdir", str(tmp_path / "once")], runs=2)  # which only one of them can make
    monkeypatch.setattr(elsewhere, "PYTEST", ())
    assert not elsewhere.run(place, [])
    assert elsewhere.run(Place(before=["true"], runs=2), [])
