"""How long what waits has waited: 0 when nothing does, None when nobody can know, and never the age of the last change.

Pure. A change waits in the WAL, in capture's hands, or in the log. Of the WAL nobody knows what is in it before it is
decoded; but it is known when the server's WAL ended where decoding is now, if somebody looked then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

NOISE: Final = 1024 * 1024
"""Bytes that a busy database writes while it is looked at."""
_KEPT: Final = 3_600
"""Looks at the WAL's end that are remembered: an hour of them, once a second."""


class Wal(NamedTuple):
    """The source's WAL: its end, how far the slot was acknowledged, whether somebody streams, and how far the server
    has decoded it for him (None: we may not see it). Positions as integers."""

    end: int
    confirmed: int
    streams: bool
    sent: int | None = None

    @property
    def undecoded(self) -> int | None:
        """From where on nobody knows what is in it; None if all of it was decoded."""
        if not self.streams:
            return self.confirmed if self.end > self.confirmed else None
        decoded = max(self.sent or 0, self.confirmed)
        return decoded if self.end - decoded > NOISE else None


class WalClock:
    """When the WAL ended where."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque(maxlen=_KEPT)

    def see(self, now: float, end: int) -> None:
        """It ends there now."""
        self._seen.append((now, end))

    def age(self, now: float, position: int) -> float | None:
        """How many seconds ago it ended at `position`, at the most; None if nobody looked so long ago."""
        before = [at for at, end in self._seen if end <= position]
        return now - before[-1] if before else None


def behind(
    wal: Wal | None, clock: WalClock, now: float, *, held: float | None, waits: Iterable[float | None]
) -> float | None:
    """Seconds. `held` is how long something has been in capture's hands (None: nothing is); `waits` are the ages of
    what is next in each partition where something waits, None where that cannot be told."""
    ages = list(waits)
    if None in ages or wal is None:
        return None
    known = [*(each for each in ages if each is not None), *([] if held is None else [held])]
    if wal.undecoded is not None:
        age = clock.age(now, wal.undecoded)
        if age is None:
            return None
        known.append(age)
    return max(known, default=0.0)
