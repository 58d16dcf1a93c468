"""The parts of a connector: plain settings made from its configuration, and the loop that each part runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeAlias

import psycopg

from cdc.halt import OVER_THE_GAP, Cause, Halt
from cdc.journal import PostgresJournal, Report
from cdc.log import topic
from cdc.log.direct import MemoryLog
from cdc.log.kafka import KafkaPublisher
from cdc.log.topic import TopicState
from cdc.log.transport import DeliveryFailed, Publisher
from cdc.record.codec import avro, decode
from cdc.record.envelope import JSON, Codec, Undecodable
from cdc.record.record import Record
from cdc.run import Capture
from cdc.settings import CaptureSettings
from cdc.source.session import connect
from sink.reader import KafkaReader
from sink.run import Sink, SinkSettings
from sink.state import sources
from snapshot.run import Backfill, BackfillSettings
from widebeam.config.connector import Connector
from widebeam.gap.repair import RangeRepair
from widebeam.process.heartbeat import progress_of
from widebeam.quarantine.heal import Overtaken
from widebeam.run.sink_threads import SinkThreads
from widebeam.setup import failover
from widebeam.setup.column_types import ColumnTypes
from widebeam.setup.prepared import Prepared
from widebeam.setup.survey import Survey
from widebeam.state import recorded

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LOG: Final = logging.getLogger(__name__)


def run_capture(connector: Connector, ready: Prepared, stop: threading.Event) -> None:
    """From the slot to Kafka."""
    publisher = KafkaPublisher(connector.kafka_client("capture"), connector.topic or "", ready.partitions)
    capture_into(publisher, connector, ready, stop)


def capture_into(
    publisher: Publisher,
    connector: Connector,
    ready: Prepared,
    stop: threading.Event,
    ours: Callable[[], None] = lambda: None,
) -> None:
    """From the slot to any log; `ours` is called once the slot is ours, before anything is published."""
    settings = CaptureSettings(
        connector=connector.name,
        source_dsn=connector.options.source.conninfo(),
        slot=connector.slot,
        publication=connector.publication,
        tables=ready.published,
        family=connector.family.narrow if connector.growing else None,
        codec=_codec(connector),
        watch_seconds=connector.options.source.watch_seconds,
        survey=Survey(connector).look,
        oids=ready.oids,
        vouch=ColumnTypes(connector).vouch,
    )
    target = connector.options.target.conninfo()
    with connect(target, autocommit=True, application_name="widebeam-capture") as session:
        settings = replace(settings, follow=lambda: failover.follow(connector, session))
        Capture(settings, publisher, _Journal(session, connector.name, ours, progress_of(stop))).run(stop)


def _codec(connector: Connector) -> Codec:
    """The form of the records that are written. Sinks see it in each of them."""
    kafka = connector.options.kafka
    return avro(kafka.schema_id) if kafka is not None and kafka.format == "avro" else JSON


class _Journal(PostgresJournal):
    """Takes a generation exactly when the slot has become ours: the moment to tell others. What is acknowledged is
    progress."""

    def __init__(
        self, session: Session, connector: str, ours: Callable[[], None], progressed: Callable[[], None]
    ) -> None:
        super().__init__(session, connector)
        self._ours = ours
        self._progressed = progressed

    def take_generation(self) -> int:
        """The number of a new run of capture."""
        number = super().take_generation()
        self._ours()
        return number

    def acknowledge(self, report: Report) -> bool:
        """Write the report down."""
        written = super().acknowledge(report)
        if written:
            self._progressed()
        return written


def run_backfill(connector: Connector, ready: Prepared, stop: threading.Event) -> None:
    """Chunks, until none is left."""
    standby = connector.options.backfill.standby_dsn
    settings = BackfillSettings(
        mapping=ready.mapping,
        source_dsn=connector.options.source.conninfo(),
        target_dsn=connector.options.target.conninfo(),
        standby_dsn=None if standby is None else standby.get_secret_value(),
        attempts=connector.options.backfill.attempts,
        publication=connector.publication,
        chunk_rows=connector.options.backfill.chunk_rows,
        chunk_hours=connector.chunk_hours,
        stays=ready.partitioned,
        repairs=lambda source, target: RangeRepair(source, target, sources.joined(target, ready.mapping)),
        done=progress_of(stop),
        misfits=Overtaken(
            connector.options.source.conninfo(),
            connector.options.target.conninfo(),
            lambda target: sources.joined(target, ready.mapping),
        ),
    )
    counts = Backfill(settings).run(stop)
    _LOG.info(
        "%d of %d chunks are merged, %d void, %d rows",
        counts.merged,
        counts.merged + counts.void + counts.open + counts.given_up,
        counts.void,
        counts.rows,
    )


def run_sink(connector: Connector, ready: Prepared, stop: threading.Event) -> None:
    """From Kafka into the wide tables."""
    log = connector.kafka_client("sink"), connector.topic or "", connector.group
    join = partial(_Reader, connector, progress_of(stop), *log)
    Sink(replace(sink_settings(connector, ready), rewindable=True), join).run(stop)


class _Reader(KafkaReader):
    """What is applied is progress; the topic is the one that was written down."""

    def __init__(self, connector: Connector, progressed: Callable[[], None], *log: Any) -> None:
        super().__init__(*log)
        self._connector, self._progressed = connector, progressed

    def identify(self, state: TopicState) -> None:
        """Raises Halt where the topic is another one than ours."""
        with connect(self._connector.options.target.conninfo(), autocommit=True) as target:
            found = recorded.load(target, self._connector.name)
        if found is not None and found.topic is not None:
            topic.check(found.topic, state, found.topic_id or "", found.partitions)

    def applied(self, offsets: dict[int, int]) -> None:
        """These next offsets are durable in the target."""
        self._progressed()
        super().applied(offsets)


def sink_settings(connector: Connector, ready: Prepared) -> SinkSettings:
    """What a sink needs, whatever the log."""
    return SinkSettings(
        target_dsn=connector.options.target.conninfo(),
        mapping=ready.mapping,
        source_dsn=connector.options.source.conninfo(),
        batch_rows=connector.options.sink.batch_rows,
    )


def _ours(value: bytes) -> Record:
    """A record out of memory: capture has written it, so that one which cannot be read is lost to the wide tables.

    Passed over, its number would be missing, and what follows in its partition would be taken for older than it.
    """
    try:
        return decode(value)
    except Undecodable as error:
        raise Halt(
            Cause.UNDECODABLE_STREAM,
            f"a record of {len(value):,} bytes in memory cannot be read: {error.reason}",
            f"The slot keeps everything from there on. {OVER_THE_GAP}",
        ) from error


def run_stream(connector: Connector, ready: Prepared, stop: threading.Event) -> None:
    """The direct transport: capture in this thread, the sinks in others, the log in memory between them.

    The sinks begin when the slot is ours. One that fails ends the run of capture; what it had not applied is still in
    the slot. At a stop capture drains first, which takes the sinks.
    """
    log = MemoryLog(ready.partitions)
    # A record can only be missing in memory by a fault of ours, and what is passed over counts as durable: no patience.
    sink_threads = SinkThreads(
        replace(sink_settings(connector, ready), patience=0.0, decode=_ours), log, connector.options.sink.workers
    )
    try:
        capture_into(log.publisher(), connector, ready, stop, sink_threads.begin)
    except DeliveryFailed:
        if sink_threads.failure is None:
            raise
    finally:
        sink_threads.end()
    if sink_threads.failure is not None:
        raise sink_threads.failure
