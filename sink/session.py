"""A sink's session with the target: connected when it is needed, given up at any failure, and made anew."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from threading import Event
from time import monotonic
from typing import Final, TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    sleep_using_event,
    stop_any,
    stop_when_event_set,
    wait_random_exponential,
)
from tenacity.stop import stop_base

from cdc.fate import Fate, Whose
from cdc.fault import fault
from cdc.trouble import TROUBLES
from sink.apply import Applier
from sink.lookup import Lookup
from sink.mapping.origin import may_meet
from sink.reread import SourceCells
from sink.settings import SinkSettings
from sink.state import halts
from sink.state.account import Fenced
from sink.target import Connection, open_target
from sink.wide.registry import Registry

T = TypeVar("T")

_log = logging.getLogger(__name__)

_TRIED_AGAIN: Final = (Fate.PASSES, Fate.WAITS, Fate.REFUSED, Fate.CONFLICT)


class Stopped(Exception):
    """`stop` was set while something was being tried again."""


class Session:
    """The connection, and what lives as long as it.

    `lost` is set by each failure: what was polled is to be read again.
    """

    def __init__(self, settings: SinkSettings) -> None:
        self._settings = settings
        self._target: Connection | None = None
        self._applier: Applier | None = None
        self._lookup: Lookup | None = None
        self._cells: SourceCells | None = None
        self._said = ""
        self.lost = False

    @property
    def target(self) -> Connection:
        """The connection, in autocommit. Raises Halt if somebody has changed the wide tables."""
        if self._target is None:
            self._target = open_target(self._settings.target_dsn, f"widebeam sink {self._settings.mapping.connector}")
        return self._target

    @property
    def applier(self) -> Applier:
        """What applies batches over the connection."""
        if self._applier is None:
            registry = Registry(self._settings.mapping)
            registry.refresh(self.target)
            registry.check(self.target)
            self._lookup = self._new_lookup()
            self._cells = self._new_cells()
            self._applier = Applier(self.target, self._settings.mapping, registry, self._lookup, self._cells)
        return self._applier

    @property
    def open(self) -> bool:
        """Is there a connection, as far as is known?"""
        return self._target is not None and not self._target.broken

    def close(self) -> None:
        """Give the connection up; whatever was in a transaction is undone by the server."""
        if self._target is not None:
            self._target.close()
        self._target = self._applier = None
        if self._lookup is not None:
            self._lookup.close()
            self._lookup = None
        if self._cells is not None:
            self._cells.close()
            self._cells = None

    def _new_lookup(self) -> Lookup | None:
        dictionary = self._settings.mapping.rule.dictionary
        if dictionary is None or self._settings.source_dsn is None:
            return None
        return Lookup(self._settings.source_dsn, self._settings.mapping.connector, dictionary)

    def _new_cells(self) -> SourceCells | None:
        mapping = self._settings.mapping
        if self._settings.source_dsn is None or (mapping.rule.several == "refuse" and not may_meet(mapping)):
            return None
        return SourceCells(self._settings.source_dsn)

    def retried(self, action: Callable[[], T], stop: Event) -> T:
        """Do it until it is done: as long as it takes where a server is away or read-only.

        Raises Halt after `give_up_after` seconds of other failures, and Stopped.
        """
        retrying = Retrying(
            retry=retry_if_exception(_may_pass),
            stop=stop_any(_Patience(self._settings.give_up_after), stop_when_event_set(stop)),
            wait=wait_random_exponential(0.1, max=5),
            sleep=sleep_using_event(stop),
            before_sleep=self._start_anew,
            reraise=True,
        )
        try:
            done = retrying(action)
        except Exception as error:
            if not _may_pass(error):
                raise
            if stop.is_set():
                raise Stopped from error
            raise halts.given_up(error, fault(error), self._settings.give_up_after) from error
        TROUBLES.over(_where())
        self._said = ""
        return done

    def _start_anew(self, attempt: RetryCallState) -> None:
        """Whatever the last attempt did or did not, the target's progress tells."""
        error = None if attempt.outcome is None else attempt.outcome.exception()
        said = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        log = _log.warning if said != self._said else _log.debug  # one that waits for hours says so once
        log("sink starts anew after %s", said)
        self._said = said
        found = None if error is None else fault(error)
        TROUBLES.hold(_where(), said if found is None else f"{found.whose}: {said}")
        self.close()
        self.lost = True


def _where() -> str:
    """Whose trouble it is: on the direct transport the sinks are threads of one process."""
    thread = threading.current_thread()
    return "sink" if thread is threading.main_thread() else thread.name


class _Patience(stop_base):
    """Over after so many seconds of failures that do not end by themselves: who waits for a server waits for it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None

    def __call__(self, attempt: RetryCallState) -> bool:
        error = None if attempt.outcome is None else attempt.outcome.exception()
        found = None if error is None else fault(error)
        if found is not None and found.fate is Fate.WAITS:
            self._since = None
            return False
        self._since = monotonic() if self._since is None else self._since
        return monotonic() - self._since >= self._seconds


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, Fenced):
        return True
    found = fault(error)
    return found is not None and found.whose is not Whose.KAFKA and found.fate in _TRIED_AGAIN
