"""How long a sink rests after a batch that was not full. Pure.

Most of what a small batch costs a larger one costs too, so a sink that takes whatever is there at once takes much of
the machine. When what it applies is old, capture is behind, and needs the machine more than the sink does: the sink
rests as long as its batch took, and its batches grow. When it is fresh, somebody may be waiting for it.
"""

from __future__ import annotations

from typing import Final

_OLD: Final = 1.0
_FRESH_SHARE: Final = 0.25
_LEAST_CYCLE: Final = 0.008
_LONGEST: Final = 0.1


def rest(took: float, age: float) -> float:
    """Seconds to rest after a batch that took so long, when the newest change in it had been committed `age` ago."""
    share = 1.0 if age > _OLD else _FRESH_SHARE
    return min(max(took * share, _LEAST_CYCLE - took), _LONGEST)
