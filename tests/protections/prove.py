"""Show for each protection that its tests pass with it and fail without it: `make protections`.

One line a protection; the last line is JSON. Exits with 1 if one could not be shown.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from fnmatch import fnmatchcase
from queue import SimpleQueue

from tests.protections.every import PROTECTIONS
from tests.protections.matrix import table
from tests.protections.protection import Protection
from tests.protections.scratch import Case, Scratch, scratch


def function_of(test: str) -> str:
    """The test function of a node id."""
    return test.partition("::")[2].partition("[")[0]


def unwell(protection: Protection, cases: Sequence[Case]) -> str | None:
    """What is wrong with the tests while the protection is on; None if they pass."""
    for test in map(function_of, protection.tests):
        mine = [case for case in cases if case.test == test]
        if not mine:
            return f"{test} did not run"
        said = next((case.said for case in mine if case.said is not None), None)
        if said is not None:
            return f"{test} fails with the protection, too: {said[:200]}"
    return None


def unseen(protection: Protection, cases: Sequence[Case]) -> str | None:
    """Why the tests do not show that the protection is off; None if they do."""
    for test in map(function_of, protection.tests):
        said = [case.said for case in cases if case.test == test and case.said is not None]
        if not said:
            return f"{test} passes without the protection"
        other = next((each for each in said if re.match(protection.fails_by, each) is None), None)
        if other is not None:
            return f"{test} fails by something else: {other[:300]}"
    return None


def chosen(patterns: Sequence[str]) -> list[Protection]:
    """The protections with these names, which may be patterns; all without any. SystemExit for one that names none."""
    for pattern in patterns:
        if not any(fnmatchcase(each.name, pattern) for each in PROTECTIONS):
            raise SystemExit(f"no protection is called {pattern}")
    return [each for each in PROTECTIONS if not patterns or any(fnmatchcase(each.name, one) for one in patterns)]


def show(protection: Protection, with_it: Sequence[Case], copies: SimpleQueue[Scratch]) -> bool:
    """Switch it off and say what became of its tests."""
    copy, began = copies.get(), time.monotonic()
    try:
        amiss = unwell(protection, with_it)
        if amiss is None:
            with copy.without(protection.edits):
                cases = copy.run(protection.tests)
                amiss = unseen(protection, cases) if cases else f"pytest came to no end: {copy.output}"
    finally:
        copies.put(copy)
    verdict = "shown" if amiss is None else f"NOT SHOWN: {' '.join(amiss.split())}"
    print(f"{protection.name}: {verdict} ({time.monotonic() - began:.0f} s)", flush=True)
    return amiss is None


def prove(protections: Sequence[Protection], jobs: int) -> list[str]:
    """The names of those that could not be shown."""
    with ExitStack() as stack:
        copies: SimpleQueue[Scratch] = SimpleQueue()
        first = stack.enter_context(scratch())
        with_it = first.run(test for each in protections for test in each.tests)
        if not with_it:
            raise SystemExit(f"pytest came to no end: {first.output}")
        copies.put(first)
        for _ in range(jobs - 1):
            copies.put(stack.enter_context(scratch()))
        with ThreadPoolExecutor(jobs) as pool:
            shown = list(pool.map(lambda each: show(each, with_it, copies), protections))
    return [each.name for each, well in zip(protections, shown, strict=True) if not well]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="make protections", description=__doc__)
    parser.add_argument("names", nargs="*", help="protections, or patterns of their names; all by default")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once")
    parser.add_argument("--table", action="store_true", help="print the table in docs/reliability.md instead")
    given = parser.parse_args()
    if given.table:
        print(table(PROTECTIONS), end="")
        return
    protections = chosen(given.names)
    left = prove(protections, given.jobs)
    summary = {"protections": len(protections), "shown": len(protections) - len(left), "not_shown": left}
    print(json.dumps(summary))
    sys.exit(1 if left else 0)


if __name__ == "__main__":
    main()
