"""Failpoints: each has one place in the code, does nothing when off, and what the environment says when on."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from cdc.failpoint import Failpoint, Injected, armed, hit, parse

ROOT = Path(__file__).parents[2]
POINT = Failpoint.SINK_STAGED


def sites() -> Counter[str]:
    """How often each name is handed over in a call, in all of our code."""
    found: Counter[str] = Counter()
    for layer in ("cdc", "sink", "snapshot", "widebeam"):
        for path in (ROOT / layer).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                given = [*node.args, *(each.value for each in node.keywords)] if isinstance(node, ast.Call) else []
                for argument in given:
                    if isinstance(argument, ast.Attribute) and ast.unparse(argument.value) == "Failpoint":
                        found[argument.attr] += 1
    return found


def test_each_name_has_one_place_in_the_code() -> None:
    assert sites() == Counter(point.name for point in Failpoint)


def test_a_name_says_between_what_it_lies() -> None:
    assert all(point.before and point.after and point.value == str(point) for point in Failpoint)
    assert len({point.value for point in Failpoint}) == len(Failpoint)


def run(environment: str | None, code: str) -> subprocess.CompletedProcess[str]:
    """A process that starts with this in its environment."""
    given = {} if environment is None else {"WIDEBEAM_FAILPOINTS": environment}
    return subprocess.run(
        [sys.executable, "-c", f"from cdc.failpoint import *\n{code}"],
        capture_output=True, text=True, check=False, timeout=60, cwd=ROOT, env=given,
    )  # fmt: skip


def test_the_environment_alone_switches_one_on_for_its_nth_hit() -> None:
    code = "for n in range(4): hit(Failpoint.SINK_STAGED); print(n, flush=True)"
    assert run(None, code).stdout.split() == ["0", "1", "2", "3"]
    crashed = run("capture.confirmed=error; sink.staged=crash@3", code)
    assert (crashed.returncode, crashed.stdout.split()) == (-9, ["0", "1"])


def test_a_mistake_in_it_is_told_at_the_start() -> None:
    for text in ("sink.stagd=crash", "sink.staged=explode", "sink.staged=crash@x", "sink.staged=crash,twice:1"):
        told = run(text, "")
        assert told.returncode == 1
        assert "WIDEBEAM_FAILPOINTS" in told.stderr.splitlines()[-1]


def test_off_means_nothing() -> None:
    hit(POINT)
    with armed("sink.staged=error"), pytest.raises(Injected, match=r"sink\.staged"):
        hit(POINT)
    hit(POINT)


def test_a_token_is_for_one_hit_of_whoever_takes_it(tmp_path: Path) -> None:
    with armed(f"*=crash,once:{tmp_path}/"):
        hit(POINT)
        (tmp_path / POINT).write_text("error")
        hit(Failpoint.SINK_MERGED)
        with pytest.raises(Injected):
            hit(POINT)
        hit(POINT)
    assert not list(tmp_path.iterdir())


def test_a_token_counts_hits_from_when_it_is_there(tmp_path: Path) -> None:
    with armed(f"*=crash,once:{tmp_path}/"):
        hit(POINT)
        (tmp_path / POINT).write_text("error@3")
        hit(POINT)
        hit(POINT)
        with pytest.raises(Injected):
            hit(POINT)
        hit(POINT)
    assert not list(tmp_path.iterdir())


def test_chance_goes_by_its_seed() -> None:
    def story(seed: int) -> list[bool]:
        trap = parse(f"sink.*=error,chance:0.5,seed:{seed}")[POINT]
        return [trap.sprung(POINT) is not None for _ in range(40)]

    assert story(1) == story(1) != story(2)
    assert 5 < sum(story(1)) < 35
