"""A connector's lock in its target: who sets it up, drops it or goes over a gap is alone with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

import psycopg

from cdc.patience import holders

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_WAIT: Final = "60s"


class Busy(Exception):
    """Somebody else sets the connector up or drops it."""


@contextmanager
def alone(target: Session, connector: str) -> Iterator[None]:
    """Nobody else sets this connector up or drops it meanwhile. Ends with the session, too."""
    target.execute("SELECT set_config('lock_timeout', %s, false)", [_WAIT])
    key = f"widebeam.prepare {connector}"
    try:
        target.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [key])
    except psycopg.errors.LockNotAvailable:
        raise Busy(
            f"another widebeam has been setting {connector} up, or dropping it, for {_WAIT}, or somebody holds the "
            f"advisory lock of that: {'; '.join(holders(target)) or 'nobody that can be seen any more'}"
        ) from None
    finally:
        target.execute("RESET lock_timeout")
    try:
        yield
    finally:
        if not target.closed:
            target.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [key])
