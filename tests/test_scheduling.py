"""The suite's processes share the work by files."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from tests.scheduling import HERE, LONG, place
from tests.waiting import PATIENCE

FILES = ("tests/widebeam/test_counted.py", "tests/cdc/test_bindable.py", "tests/sink/mapping/test_period.py")


def test_all_tests_of_a_file_run_in_one_process() -> None:
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadscope", "--no-loadscope-reorder", "-v", "-v"]
    done = subprocess.run(
        [*command, *FILES], cwd=HERE.parent, capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    ran = defaultdict[str, set[str]](set)
    for worker, file in re.findall(r"^\[(gw\d)\].* PASSED (\S+?\.py)::", done.stdout, re.MULTILINE):
        ran[file].add(worker)
    assert set(ran) == set(FILES), done.stdout
    assert {len(workers) for workers in ran.values()} == {1}, ran


def test_each_long_file_is_there_and_has_its_place() -> None:
    assert [name for name in LONG if not (HERE / name).exists()] == []
    assert [place(HERE / name) for name in (*LONG, "test_layers.py")] == [*range(len(LONG) + 1)]
    assert place(Path(__file__)) == len(LONG)
