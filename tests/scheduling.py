"""Which process of the suite runs which tests: long ones first, and a file's in one process, since they may share a
stand that takes long to start."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from xdist.scheduler import LoadScopeScheduling

HERE: Final = Path(__file__).parent

APART: Final = frozenset(("test_schemas.py", "test_run.py", "widebeam/demo/test_demo.py"))
"""Files of long tests that share nothing but the servers: their tests may run in several processes."""

LONG: Final = (
    *sorted(APART),
    "test_halts.py", "faults/test_faults.py", "test_versions.py", "test_failpoints.py", "test_compose.py",
    "test_fidelity.py", "test_channels.py", "test_frozen.py", "test_minding.py", "test_failpoint_cases.py",
    "test_real_data.py", "widebeam/test_crowded.py", "widebeam/setup/test_failover.py",
    "widebeam/replay/test_replay.py", "widebeam/test_tls.py", "widebeam/setup/test_roles.py",
    "widebeam/cli/test_cli.py", "widebeam/check/test_remedies.py",
)  # fmt: skip
"""Files whose tests take long, in the order in which they begin: no process is to be left alone with one at the end."""


def place(path: Path) -> int:
    """Where a file's tests stand in the order."""
    name = path.relative_to(HERE).as_posix()
    return LONG.index(name) if name in LONG else len(LONG)


class ByFile(LoadScopeScheduling):
    """Each file is one piece of work, and each test of those that stand apart. Not by xdist's groups, which are part of
    a test's id: since pytest 9.2 that cannot be changed any more, and each test went anywhere."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return nodeid if path.removeprefix("tests/") in APART else path
