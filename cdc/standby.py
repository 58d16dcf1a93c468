"""Taking the slot over: everything is checked first, and while somebody else streams from it, we stand by."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

import psycopg
from tenacity import RetryCallState, RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed
from tenacity.nap import sleep_using_event
from tenacity.stop import stop_base, stop_never, stop_when_event_set

from cdc.journal import Journal
from cdc.settings import CaptureSettings
from cdc.source import publication, slot
from cdc.source.session import answered, connect
from cdc.trouble import TROUBLES
from cdc.wire.stream import Stream

log = logging.getLogger(__name__)

STANDS_BY: Final = "slot"
"""Whose trouble it is when somebody else streams from the slot."""


_LOOK_SECONDS: Final = 1.0
"""Between two looks whether the slot is free: the server cannot tell us when it is."""


class SlotInUse(Exception):
    """Somebody else streams from the slot; the message says who."""


def take_over(settings: CaptureSettings, journal: Journal, stop: threading.Event) -> Stream | None:
    """The stream from where the journal says, once it is ours alone; None if `stop` was set before.

    Raises a Halt when slot, publication or incarnation are not what they were, SlotInUse after `slot_seconds`.
    """
    limit: stop_base = stop_never if settings.slot_seconds is None else stop_after_delay(settings.slot_seconds)
    retrying = Retrying(
        retry=retry_if_exception_type((SlotInUse, psycopg.errors.ObjectInUse)),
        stop=limit | stop_when_event_set(stop),
        wait=wait_fixed(_LOOK_SECONDS),
        sleep=sleep_using_event(stop),
        before_sleep=_say_who(),
    )
    try:
        stream: Stream = retrying(_attempt, settings, journal)
    except RetryError as error:
        if stop.is_set():
            return None
        failure = error.last_attempt.exception()
        raise SlotInUse(str(failure)) from failure
    TROUBLES.over(STANDS_BY)
    return stream


def _attempt(settings: CaptureSettings, journal: Journal) -> Stream:
    if settings.follow is not None:
        settings.follow()
    slot.check_incarnation(journal.load().incarnation, slot.incarnation(settings.source_dsn))
    _check(settings, journal, ours=False)
    stream = Stream.start(settings.source_dsn, settings.slot, settings.publication, journal.load().acknowledged)
    try:
        # From here on nobody but us moves the slot. What moved it just before us was another capture of this
        # connector, which has written it to the journal, or a stranger, and then the slot is ahead of the journal.
        _check(settings, journal, ours=True)
    except BaseException:
        stream.close()
        raise
    return stream


def _check(settings: CaptureSettings, journal: Journal, *, ours: bool) -> None:
    with (
        connect(settings.source_dsn, autocommit=True, application_name="widebeam-capture") as connection,
        answered(connection),
    ):
        state = slot.inspect(connection, settings.slot)
        # The journal is read after the slot: it is written before the slot moves.
        state = slot.check(settings.slot, state, journal.load().acknowledged)
        if state.active_pid is not None and not ours:
            raise SlotInUse(slot.holder(connection, settings.slot, state.active_pid))
        for table in settings.tables:
            found = publication.inspect(connection, settings.publication, table)
            publication.check(settings.publication, found, table)


def _say_who() -> Callable[[RetryCallState], None]:
    """Log who holds the slot, once for each holder."""
    said: set[str] = set()

    def say(attempt: RetryCallState) -> None:
        holder = str(attempt.outcome.exception()) if attempt.outcome else ""
        TROUBLES.hold(STANDS_BY, holder)
        if holder not in said:
            said.add(holder)
            log.warning("standing by: %s", holder)

    return say
