"""A backfill worker: claims chunks, reads and merges them, until none is open."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import closing
from threading import Event
from typing import Any, Final, TypeAlias

import psycopg

from cdc.fate import Fate
from cdc.fault import fault
from cdc.halt import CONNECTOR, Cause, Halt
from cdc.trouble import TROUBLES
from sink.state import quarantine
from snapshot.chunks import ledger
from snapshot.chunks.gate import await_gate, await_replay
from snapshot.chunks.ledger import Counts
from snapshot.join import Joiner
from snapshot.sessions import Sessions, sessions
from snapshot.settings import BackfillSettings
from snapshot.worker import Worker

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LOG: Final = logging.getLogger(__name__)
_MOST_LOSSES: Final = 10
_BACKFILL: Final = "backfill"
_LEFT_OVER: Final = 20_000
_COMES_AGAIN: Final = (Fate.PASSES, Fate.WAITS)
_LOOK_AGAIN: Final = 0.25  # seconds between two looks at a ledger in which nothing is due
_LONGEST_REST: Final = 15.0
"""Seconds between two attempts while a server is waited for, at most: a chunk may be read from the source in each."""

__all__ = ["Backfill", "BackfillSettings"]


class Backfill:
    """One worker. Any number of them may run at once, each in a process of its own."""

    def __init__(self, settings: BackfillSettings) -> None:
        self._settings = settings
        self._connector = settings.mapping.connector
        self._losses = 0  # of sessions, since the last chunk was done
        self._rests = _LOOK_AGAIN
        self._conflicts = Counter[int]()  # by chunk, how often a standby has cancelled it

    def run(self, stop: Event) -> Counts:
        """Work until no chunk is open or `stop` is set; answer the ledger's counts.

        Where tables can join or partitions be attached, only `stop` ends it. Can be ended at any point, by any means,
        and run again. Chunks that were given up in an earlier run get new attempts. Raises Halt when chunks are given
        up in this one or a new table cannot join, GateClosed when the gate does not open, and
        psycopg.OperationalError when sessions are lost time after time.
        """
        reopen = True
        while True:
            try:
                with sessions(self._settings, stop) as connected:
                    _check_writable(connected.target)
                    if reopen:
                        ledger.reopen(connected.target, self._connector)
                        # A crash may have come between a chunk's commit and the look at what it left in quarantine.
                        self._settings.misfits(quarantine.of_chunks(connected.target, self._connector, _LEFT_OVER))
                        reopen = False
                    finished = self._work(connected, stop)
                    if finished is not None:
                        return self._verdict(connected.target, finished)
            except psycopg.Error as error:
                self._lost(error, stop)

    def _lost(self, error: psycopg.Error, stop: Event) -> None:
        """A session was lost between two chunks: connect again, unless that happens time after time.

        Who waits for a server that is away or takes no writes waits for it.
        """
        found = fault(error)
        if found is None or found.fate not in _COMES_AGAIN or stop.is_set():
            raise error
        self._losses += found.fate is not Fate.WAITS
        if self._losses > _MOST_LOSSES:
            raise error
        _LOG.warning("a session was lost: %s", error)
        if found.fate is Fate.WAITS:
            TROUBLES.hold(_BACKFILL, str(error).partition("\n")[0])
            self._rests = min(self._rests * 2, _LONGEST_REST)
            stop.wait(self._rests)
        else:
            stop.wait(_LOOK_AGAIN * self._losses)

    def _work(self, connected: Sessions, stop: Event) -> Counts | None:
        """Chunk after chunk; None when a session broke, so that new ones are needed."""
        if not self._ready(connected, stop):
            return ledger.counts(connected.target, self._connector)
        with closing(Worker(self._settings, connected, self._conflicts)) as worker:
            return self._chunks(worker, self._joiner(connected), connected, stop)

    def _joiner(self, connected: Sessions) -> Joiner | None:
        family = self._settings.mapping.family
        return None if family is None else Joiner(self._settings, connected, family)

    def _chunks(self, worker: Worker, joiner: Joiner | None, connected: Sessions, stop: Event) -> Counts | None:
        """Chunk after chunk. Where tables can join, or partitions be attached, there is no last one."""
        while not stop.is_set():
            if joiner is not None:
                joiner.look()
            chunk = ledger.claim(connected.target, self._connector)
            if chunk is None or self._rests == _LOOK_AGAIN:
                TROUBLES.over(_BACKFILL)
            if chunk is None:
                counts = ledger.counts(connected.target, self._connector)
                stays = joiner is not None or self._settings.stays
                if counts.open == 0:
                    worker.bring_along(stop)
                    if not stays or counts.given_up:
                        return counts
                stop.wait(_LOOK_AGAIN)
            elif not worker.do(chunk, stop):
                return None
            else:
                self._losses = 0
                self._settings.done()
                self._rests = _LOOK_AGAIN
        return ledger.counts(connected.target, self._connector)

    def _ready(self, connected: Sessions, stop: Event) -> bool:
        """Wait for the plan and the gate; False when `stop` was set."""
        while not ledger.planned(connected.target, self._connector):
            if stop.wait(_LOOK_AGAIN):
                return False
        if ledger.counts(connected.target, self._connector).open == 0:
            return True
        seconds = self._settings.gate_seconds
        gate = await_gate(connected.primary, connected.target, self._connector, stop, seconds)
        return gate is not None and await_replay(connected.source, gate, stop, seconds)

    def _verdict(self, target: Connection, counts: Counts) -> Counts:
        if not counts.given_up or counts.open:
            return counts
        failures = ledger.given_up(target, self._connector)
        first = failures[0]
        raise Halt(
            Cause.CHUNKS_FAILED,
            f"{counts.given_up} chunks of connector {self._connector} failed {first.attempts} times each: chunks "
            f"{', '.join(str(each.chunk) for each in failures)}; the first (from {first.lower or 'the beginning'} to "
            f"{first.upper or 'the end'}) with: {first.error}",
            f"Mend the cause, then `widebeam run {CONNECTOR}`: failed chunks get new attempts, merged ones stay.",
        )


def _check_writable(target: Connection) -> None:
    """Nothing is read from the source as long as the target would not take it."""
    if target.execute("SELECT current_setting('transaction_read_only')").fetchone() != ("off",):
        raise psycopg.errors.ReadOnlySqlTransaction("the target is read-only")
