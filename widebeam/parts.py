"""The parts of a connector: plain settings made from its configuration, and the loop that each part runs."""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import Final

from cdc.direct import MemoryLog
from cdc.envelope import JSON
from cdc.journal import PostgresJournal
from cdc.kafka import KafkaPublisher
from cdc.run import Capture
from cdc.session import connect
from cdc.standby import CaptureSettings
from cdc.transport import DeliveryFailed, Publisher
from sink.reader import KafkaReader
from sink.run import Sink, SinkSettings
from snapshot.run import Backfill, BackfillSettings
from widebeam.config import Connector
from widebeam.prepare import Prepared

_LOG: Final = logging.getLogger(__name__)


def run_capture(connector: Connector, ready: Prepared, stop: threading.Event) -> None:
    """From the slot to Kafka."""
    publisher = KafkaPublisher(connector.kafka_client(), connector.topic or "", ready.partitions)
    capture_into(publisher, connector, ready, stop)


def capture_into(publisher: Publisher, connector: Connector, ready: Prepared, stop: threading.Event) -> None:
    """From the slot to any log."""
    settings = CaptureSettings(
        connector=connector.name,
        source_dsn=connector.options.source.conninfo(),
        slot=connector.slot,
        publication=connector.publication,
        tables=ready.published,
        family=connector.family.narrow if connector.growing else None,
        codec=JSON,
    )
    with connect(
        connector.options.target.conninfo(), autocommit=True, application_name="widebeam-capture"
    ) as journal_session:
        Capture(settings, publisher, PostgresJournal(journal_session, connector.name)).run(stop)


def run_backfill(connector: Connector, ready: Prepared, stop: threading.Event) -> None:
    """Chunks, until none is left."""
    settings = BackfillSettings(
        mapping=ready.mapping,
        source_dsn=connector.options.source.conninfo(),
        target_dsn=connector.options.target.conninfo(),
        standby_dsn=connector.options.backfill.standby_dsn,
        attempts=connector.options.backfill.attempts,
        publication=connector.publication,
        chunk_rows=connector.options.backfill.chunk_rows,
        chunk_hours=connector.options.backfill.chunk_hours,
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
    join = partial(KafkaReader, connector.kafka_client(), connector.topic or "", connector.group)
    Sink(sink_settings(connector, ready), join).run(stop)


def sink_settings(connector: Connector, ready: Prepared) -> SinkSettings:
    """What a sink needs, whatever the log."""
    return SinkSettings(
        target_dsn=connector.options.target.conninfo(),
        mapping=ready.mapping,
        source_dsn=connector.options.source.conninfo(),
        batch_rows=connector.options.sink.batch_rows,
    )


def run_stream(connector: Connector, ready: Prepared, stop: threading.Event) -> None:
    """The direct transport: capture in this thread, the sinks in others, the log in memory between them.

    A sink that fails ends the run of capture; what it had not applied is still in the slot. At a stop capture drains
    first, which takes the sinks.
    """
    log, failures, sinks_stop = MemoryLog(ready.partitions), list[BaseException](), threading.Event()

    def work() -> None:
        try:
            Sink(sink_settings(connector, ready), log.join).run(sinks_stop)
        except BaseException as error:  # noqa: BLE001  raised again below, in the thread that can end the process
            failures.append(error)
            log.fail(str(error))

    threads = [threading.Thread(target=work, name=f"sink {n}") for n in range(connector.options.sink.workers)]
    for thread in threads:
        thread.start()
    try:
        capture_into(log.publisher(), connector, ready, stop)
    except DeliveryFailed:
        if not failures:
            raise
    finally:
        sinks_stop.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
