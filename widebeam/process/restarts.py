"""When a part that died is started again, and when that is no use any more. Pure: time comes from outside."""

from __future__ import annotations

import re
import signal
from collections import deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple

FIRST_PAUSE: Final = 0.5

AWAY: Final = 75
"""The exit code of a part that could not reach a server: nothing that a person could mend here. (EX_TEMPFAIL)"""

REFUSED: Final = 77
"""The exit code of a part that a server or a broker would not let in: a password may be being changed. (EX_NOPERM)"""

_VARYING: Final = re.compile(r"\d+")
_DOUBLINGS: Final = 20
_OWN: Final = frozenset(
    (
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGSEGV,
        signal.SIGSYS,
        signal.SIGTRAP,
        signal.SIGXCPU,
        signal.SIGXFSZ,
    )
)
"""Signals by which a program ends itself; all others come from somebody else."""


@dataclass(frozen=True, slots=True)
class Policy:
    """`deaths` by the same cause `within` so many seconds, without progress between them, and a person has to look.

    A part that is refused has to be let in again within as many seconds.

    A part that ran for `well_after` seconds counts as if it had got on. Pauses double up to `longest_pause`.
    """

    deaths: int = 10
    within: float = 900.0
    well_after: float = 60.0
    longest_pause: float = 30.0


class Death(NamedTuple):
    """How a part ended that should not have, after so many seconds, and whether it had got on in them.

    `outside`: by somebody else, or for want of a server: however often, that is not the part's own failure.
    `refused`: it was not let in.
    """

    how: str
    ran: float
    progressed: bool
    outside: bool = False
    refused: bool = False


@dataclass(slots=True)
class Record:
    """The deaths of one part: since it last got on, those by the present cause (as times), and in this run."""

    failures: int = 0
    alike: deque[float] = field(default_factory=deque)
    cause: str = ""
    restarts: int = 0
    refused_since: float | None = None

    def died(self, death: Death, now: float, policy: Policy) -> float | None:
        """The part died: seconds to wait before the next start; None gives up."""
        if death.progressed or death.ran >= policy.well_after:
            self.failures = 0
            self.alike.clear()
        self.failures += 1
        self.restarts += 1
        if death.refused and not death.progressed:
            self.refused_since = now if self.refused_since is None else self.refused_since
            if now - self.refused_since >= policy.within:
                return None
        else:
            self.refused_since = None
        if not (death.outside or death.refused) and self._count(death.how, now, policy) >= policy.deaths:
            return None
        return min(FIRST_PAUSE * 2.0 ** min(self.failures - 1, _DOUBLINGS), policy.longest_pause)

    def _count(self, how: str, now: float, policy: Policy) -> int:
        """Deaths by this cause, with this one."""
        if not _alike(how, self.cause):
            self.alike.clear()
        self.cause = how
        self.alike.append(now)
        while now - self.alike[0] > policy.within:
            self.alike.popleft()
        return len(self.alike)


def death(code: int, last: str, ran: float, *, progressed: bool) -> Death:
    """What an exit code (negative: by that signal) and the last line of a part say."""
    if code == 0:  # a part without an end only comes to it when it is told to, and we have not told it
        return Death(f"was asked to end by somebody else: {last}", ran, progressed, outside=True)
    if code > 0:
        return Death(f"ended with {code}: {last}", ran, progressed, outside=code == AWAY, refused=code == REFUSED)
    try:
        how = signal.Signals(-code)
    except ValueError:  # a real-time signal
        return Death(f"was ended by signal {-code}", ran, progressed, outside=True)
    memory = ", by somebody or for want of memory" if how == signal.SIGKILL else ""
    return Death(f"was ended by {how.name}{memory}", ran, progressed, outside=how not in _OWN)


def _alike(one: str, other: str) -> bool:
    """Whether two messages say the same but for times, pids and positions."""
    return _VARYING.sub("0", one) == _VARYING.sub("0", other)
