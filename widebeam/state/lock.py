"""A connector's lock in its target: who sets it up, drops it or goes over a gap is alone with it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from typing import Any, Final, TypeAlias

import psycopg

from sink.state.claim import Claim
from widebeam.state import control

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LOG: Final = logging.getLogger(__name__)
_WAIT: Final = 60.0
_PAUSE: Final = 0.1
_SAYS: Final = 2.0
"""Seconds of waiting after which it is said for whom."""


class Busy(Exception):
    """Somebody else sets the connector up or drops it."""


@contextmanager
def alone(target: Session, connector: str) -> Iterator[None]:
    """Nobody else sets this connector up or drops it meanwhile; in autocommit. Ends with the session, too. Raises Busy.

    A control schema from before claims is brought up to date; where there is none, there is nothing to be alone with.
    """
    if target.execute("SELECT to_regclass('widebeam.connectors')").fetchone() == (None,):
        yield
        return
    control.install(target)
    claim, began, said = Claim(connector, "prepare"), monotonic(), False
    while not claim.take(target):
        waited = monotonic() - began
        if waited > _WAIT:
            raise Busy(
                f"another widebeam has been setting {connector} up, or dropping it, for {_WAIT:.0f} s: "
                f"{claim.holder(target) or 'it has ended just now'}"
            )
        if waited > _SAYS and not said:
            said = True
            _LOG.info("waiting for another widebeam that sets %s up or drops it: %s", connector, claim.holder(target))
        sleep(_PAUSE)
    try:
        yield
    finally:
        if not target.closed:
            with suppress(psycopg.errors.UndefinedTable):  # it went with the last connector
                claim.give_back(target)
