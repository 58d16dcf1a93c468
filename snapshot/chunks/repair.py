"""Chunks that compare and set, rather than fill: ranges of all narrow tables, after a gap in the stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import psycopg

from snapshot.chunks.plan import Chunk

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

EVERY_TABLE: Final = ""
"""The source of such a chunk: it is of no table alone. So no sink leaves a tombstone for it; it does not need any."""

Repair: TypeAlias = Callable[[Chunk, float], None]
"""Compares and sets a range, and says in the ledger that it is merged; `began` is by time.monotonic.

Raises StillWriting when the source's writers do not let it look.
"""

Repairs: TypeAlias = Callable[[Connection, Connection], Repair]
"""Makes one for a session in the source (the primary itself) and one in the target."""
