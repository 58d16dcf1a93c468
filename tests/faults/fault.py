"""A fault: how it is injected into a stand, and what is promised."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple, TypeAlias

from tests.faults.loss import ONLY_ROOT, may_lose
from tests.faults.stand import Stand

Injector: TypeAlias = "Callable[[Stand], AbstractContextManager[None]]"


class Fault(NamedTuple):
    """Entering `inject` injects it, and returns when it has had its effect; leaving takes its cause away.

    `says` is a regular expression of what the processes say meanwhile. Injectors know nothing of tests: a storm of
    them at random is made of the same list.
    """

    name: str
    inject: Injector
    says: str = ""
    promised: Literal["recovers", "halts"] = "recovers"
    needs: Literal["small disk", "lost packets"] | None = None
    exhaustive: bool = False
    """A quicker fault of the list shows its kind."""

    def lacks(self, stand: Stand) -> str | None:
        """Why it cannot be injected here; None where it can."""
        if self.needs == "small disk" and not all(disk.small for disk in stand.disks.values()):
            return "mounting a tmpfs is not permitted here"
        return ONLY_ROOT if self.needs == "lost packets" and not may_lose() else None
