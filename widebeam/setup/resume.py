"""Resuming after a halt: everything is checked again, and what is still wrong halts again with the same words."""

from __future__ import annotations

from contextlib import closing

from cdc.halt import Cause, Halt
from cdc.source.session import connect
from sink.state import halts as sink_halts
from sink.state import sources
from sink.wide.registry import Registry
from widebeam.config.connector import Connector
from widebeam.replay.log import LogWindow
from widebeam.setup.prepare import prepare, start_anew
from widebeam.state import halts


def resume(connector: Connector) -> Halt | None:
    """Forget the halt whose cause has been mended; the one that was written down, None if there was none.

    Raises the Halt if its cause has not been mended, or if what was missed meanwhile stays missing: only crossing the
    gap (widebeam.gap) goes on from that.
    """
    dsn = connector.options.target.conninfo()
    prepare(connector)
    with connect(dsn, autocommit=True, application_name="widebeam-resume") as target:
        found = halts.recorded(target, connector.name)
        if found is not None and found.cause is Cause.TRUNCATE and connector.options.sink.on_truncate == "halt":
            raise found
        registry = Registry(connector.mapping(sources.load(target, connector.name)))
        registry.refresh(target)
        registry.check(target)
        wanted = {
            row[0]: row[1]
            for row in target.execute(
                "SELECT partition, next_offset FROM widebeam.progress WHERE connector = %s", [connector.name]
            )
        }
    _check_log(connector, wanted)
    start_anew(dsn, connector.name)
    return found


def _check_log(connector: Connector, wanted: dict[int, int]) -> None:
    """The log holds what is to be read next."""
    if connector.topic is None:
        return
    with closing(LogWindow(connector.kafka_client(), connector.topic, connector.name)) as window:
        for partition, offset in sorted(wanted.items()):
            first, end = window.bounds(partition)
            place = f"partition {partition} of topic {connector.topic}"
            if offset > end:
                raise sink_halts.log_ends_before(place, offset, end)
            if offset < first:
                raise sink_halts.retention_gap(place, offset, first)
