"""Capture: reads the slot, assembles change records, publishes them, and acknowledges what is durable."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Sequence
from typing import Final

from cdc.event import Begin, Commit, Event, Relation, Single
from cdc.failpoint import Failpoint, hit
from cdc.halt import Cause, Halt
from cdc.journal import Journal, Report
from cdc.log.outbox import Outbox, Outgoing
from cdc.log.transport import DeliveryFailed, Publisher
from cdc.lsn import Lsn
from cdc.record.assembler import Assembler
from cdc.record.numbering import Draft, Numbering
from cdc.record.record import Changes
from cdc.settings import CaptureSettings
from cdc.source.rows import SourceRows
from cdc.standby import take_over
from cdc.watch import Watch
from cdc.wire.ack import Acknowledger
from cdc.wire.pgoutput import Decoder, Undecodable
from cdc.wire.stream import Stream

_new: Final = tuple.__new__  # makes a NamedTuple without the call of its Python-level __new__

_COLLECT_EVERY: Final = 50_000
_BATCH: Final = 2_000
"""Frames between two looks at the clock and at what was delivered."""
_PATIENCE: Final = 0.25
"""Seconds without a frame until the clock and `stop` are looked at."""
_ASKING: Final = 2.0
"""Seconds for the log's answer to where it ends, at least; meanwhile the server does not hear from us."""
_SILENT: Final = 70.0
"""Seconds in which it has to answer: as long as deliveries have, for which a part that ends has run well."""
_HELD: Final = 3.0
"""Seconds between two reports while what was handed over is not durable, and nothing else is to be told."""
_PUSHED_BACK: Final = 0.05
"""Seconds to wait for a delivery when the log takes nothing more."""


class Capture:
    """One run after the other of one connector's capture."""

    def __init__(self, settings: CaptureSettings, publisher: Publisher, journal: Journal) -> None:
        self._settings = settings
        self._publisher = publisher
        self._journal = journal

    def run(self, stop: threading.Event) -> None:
        """Capture until `stop` is set. Raises what ended it otherwise: a Halt, DeliveryFailed, a psycopg.Error.

        The publisher is of this run only and closed by it: what it did not deliver, the next run brings again.
        """
        source = SourceRows(self._settings.source_dsn)
        # The buffered rows are many small lists without a cycle among them: looking for cycles every 700
        # allocations, as is the default, costs a tenth of the time and finds nothing.
        before = gc.get_threshold()
        gc.set_threshold(_COLLECT_EVERY, 20, 20)
        try:
            stream = take_over(self._settings, self._journal, stop)
            if stream is None:
                return
            try:
                hit(Failpoint.CAPTURE_SLOT_TAKEN)
                with Watch(self._settings) as watch:
                    run = _Run(self._settings, self._publisher, self._journal, source=source, stream=stream, stop=stop)
                    run.go(watch)
            finally:
                stream.close()
        finally:
            gc.set_threshold(*before)
            self._publisher.close()
            source.close()


class _Stopped(Exception):
    """`stop` was set while the log took nothing."""


class _Run:
    """One generation."""

    def __init__(
        self,
        settings: CaptureSettings,
        publisher: Publisher,
        journal: Journal,
        *,
        source: SourceRows,
        stream: Stream,
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._publisher = publisher
        self._journal = journal
        self._stream = stream
        self._stop = stop
        account = journal.load()
        self._told, self._ends = account.acknowledged, account.log_ends
        self._ack = Acknowledger(self._told)
        self._outbox = Outbox(publisher)
        self._decoder = Decoder()
        numbering = Numbering(settings.connector, journal.take_generation(), publisher.partitions)
        hit(Failpoint.CAPTURE_GENERATION_TAKEN)
        self._assembler = Assembler(
            settings.tables, numbering, source, family=settings.family, oids=settings.oids, vouch=settings.vouch
        )
        self._begin: Begin | Single | None = None
        self._described = False
        self._records = 0
        self._changes = 0
        self._written = self._reported = time.monotonic()  # the journal, the server
        self._waits: Begin | Single | None = None  # a transaction that was read and is not durable, as far as is known

    def go(self, watch: Watch) -> None:
        """Until `stop`, then drain."""
        try:
            self._await_log()
            while not self._stop.is_set():
                frames = self._stream.read(_BATCH, 0 if self._outbox else _PATIENCE)
                self._take(frames)
                if self._outbox.due or not frames:
                    self._hand_over()
                self._hear()
                # All frames before the keepalive are taken by now, so that idle means: nothing of them is missing.
                self._ack.passed(self._stream.passed)
                self._report_if_due()
                if self._described:
                    watch.wake()
                    self._described = False
                watch.check()
        except _Stopped:
            pass
        except Undecodable as error:
            raise Halt(
                Cause.UNDECODABLE_STREAM,
                f"in the transaction {self._begin}: {error}",
                "The slot keeps everything from there on: report it with the server's version.",
            ) from error
        self._drain()

    def _await_log(self) -> None:
        """Nothing is published before the log has shown that it still has what it had confirmed.

        A record that it lost is behind what the slot was told, so that nobody brings it again; and once later ones
        lie in its place, nobody misses it.
        """
        deadline = time.monotonic() + _SILENT
        while not self._publisher.has(self._ends, max(_ASKING, self._stream.status_seconds)):
            if self._stop.is_set():
                raise _Stopped
            if time.monotonic() > deadline:
                raise DeliveryFailed(f"the log has not said in {_SILENT:.0f} s where it ends")
            self._report_if_due()

    def _take(self, frames: list[bytes]) -> None:
        for event, size in self._decoder.events(frames):
            drafts = self._assembler.take(event, size)
            if drafts:
                self._put(drafts)
                if self._outbox.full:
                    self._hand_over()
            self._mark(event)

    def _mark(self, event: Event) -> None:
        match event:
            case Single():
                self._begin = event
                self._ack.committed(event.end_lsn)
            case Begin():
                self._begin = event
                self._ack.began()
            case Commit():
                self._ack.committed(event.end_lsn)
            case Relation():
                self._described = True

    def _put(self, drafts: Sequence[Draft]) -> None:
        encode, token, put = self._settings.codec.encode, self._ack.token, self._outbox.put
        for partition, key, record in drafts:
            put(_new(Outgoing, (partition, key, encode(record), token())))
            self._records += 1
            if isinstance(record, Changes):
                self._changes += len(record.rows)

    def _hand_over(self) -> None:
        if self._outbox:
            while not self._outbox.hand_over():
                self._wait_for_room()
            hit(Failpoint.CAPTURE_HANDED_OVER)

    def _wait_for_room(self) -> None:
        """The log pushes back: nothing is read meanwhile, but the server hears from us."""
        if self._stop.is_set():
            raise _Stopped
        self._hear(_PUSHED_BACK)
        self._report_if_due()

    def _hear(self, timeout: float = 0.0) -> None:
        """What has become durable, waiting up to so many seconds for the first of it."""
        durable = self._publisher.delivered(timeout)
        if durable:
            hit(Failpoint.CAPTURE_CONFIRMED)
            self._ack.delivered(durable)

    def _report_if_due(self) -> None:
        now, busy, held = time.monotonic(), self._records > 0, self._ack.in_flight > 0
        waiting = busy or held or self._ack.acknowledged > self._told
        settings = self._settings
        due = now - self._written >= (settings.ack_seconds if busy else _HELD if held else settings.idle_seconds)
        if (waiting and due) or self._stream.reply_requested:
            self._report()
        elif now - self._reported >= self._stream.status_seconds:
            self._tell()

    def _report(self) -> None:
        """First into the journal, then to the server: so the slot is never ahead of what we know."""
        acknowledged = self._ack.acknowledged
        if acknowledged > self._told or self._records or self._ack.in_flight or self._assembler.ignored:
            received = max(Lsn(self._stream.received), acknowledged)
            ignored = self._assembler.ignored
            if self._journal.acknowledge(
                Report(
                    acknowledged, received, self._records, self._changes, self._publisher.ends, self._waiting(), ignored
                )
            ):
                hit(Failpoint.CAPTURE_JOURNALED)
                self._told = acknowledged
                self._records = self._changes = 0
                self._assembler.ignored -= ignored
            self._written = time.monotonic()
        self._tell()

    def _waiting(self) -> int | None:
        """Since when something waits to be durable, at the least; None if nothing does."""
        if not self._ack.in_flight:
            self._waits = None
        elif self._waits is None or self._waits.final_lsn < self._ack.acknowledged:
            self._waits = self._begin
        return None if self._waits is None else self._waits.commit_time

    def _tell(self) -> None:
        self._stream.report(self._told)
        self._reported = time.monotonic()

    def _drain(self) -> None:
        """A clean stop: what was handed over becomes durable, if that does not take too long, and is acknowledged."""
        deadline = time.monotonic() + self._settings.drain_seconds
        while self._ack.in_flight and time.monotonic() < deadline:
            self._outbox.hand_over()
            self._hear(_PUSHED_BACK)
            self._report_if_due()
        hit(Failpoint.CAPTURE_DRAINED)
        self._report()
