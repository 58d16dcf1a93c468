"""How long a sink rests after a batch that was not full. Pure.

Most of what a small batch costs a larger one costs too, so a sink that takes whatever is there at once takes much of
the machine. Where changes reach the log late, capture is behind, and needs the machine more than the sink does: the
sink rests as long as its batch took, and its batches grow. Where they have waited in the log, the sink itself is
behind, and does not rest. Where they are fresh, somebody may be waiting for them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_BEHIND: Final = 1.0
_FRESH_SHARE: Final = 0.25
_LEAST_CYCLE: Final = 0.020
"""From one small batch to the next, at least. At 10,000 rows/s half of the changes can be read 23 ms after their commit
then, instead of 14 with 0.008, and the sink takes 0.1 core instead of 0.17."""
_LONGEST: Final = 0.1


class Lag(NamedTuple):
    """Seconds from a change's commit until it lay in the log, and from then until it could be read.

    The clocks of the source, of capture and of the sink make them: one may be negative.
    """

    capture: float = 0.0
    sink: float = 0.0

    @classmethod
    def of(cls, committed: int, logged: int, visible: float) -> Lag:
        """From a commit in us, the log's time in ms (-1 if that is unknown) and a time in s, all since 1970."""
        began, came = committed / 1_000_000, logged / 1_000
        return cls(visible - began) if logged < 0 else cls(came - began, visible - came)


def rest(took: float, lag: Lag) -> float:
    """Seconds to rest after a batch that took so long, by the newest change in it."""
    if lag.capture > _BEHIND:
        return min(max(took, _LEAST_CYCLE - took), _LONGEST)
    if lag.sink > _BEHIND:
        return 0.0
    return min(max(took * _FRESH_SHARE, _LEAST_CYCLE - took), _LONGEST)
