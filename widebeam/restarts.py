"""When a part that died is started again, and when that is no use any more. Pure: time comes from outside."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

FIRST_DELAY: Final = 0.5
LONGEST_DELAY: Final = 30.0
HEALTHY_AFTER: Final = 60.0
"""Seconds that a part has to run for its earlier failures to be forgotten."""

MOST: Final = 10
"""So many failures in a row, all the same, and a person has to look: about three minutes."""

_VARYING: Final = re.compile(r"\d+")


@dataclass(slots=True)
class Record:
    """The failures of one part in a row: how many, how many of them the same, and the last one."""

    failures: int = 0
    same: int = 0
    error: str = ""

    def failed(self, error: str, ran: float) -> float | None:
        """The part died with `error` after `ran` seconds: seconds to wait before the next start; None gives up."""
        if ran >= HEALTHY_AFTER:
            self.failures = self.same = 0
        self.same = self.same + 1 if _alike(error, self.error) else 1
        self.failures += 1
        self.error = error
        if self.same >= MOST:
            return None
        return min(FIRST_DELAY * 2.0 ** (self.failures - 1), LONGEST_DELAY)


def _alike(one: str, other: str) -> bool:
    """Whether two messages say the same but for times, pids and positions."""
    return _VARYING.sub("0", one) == _VARYING.sub("0", other)
