"""Resuming after a halt: what can be seen from here is looked at again, and what is still wrong halts again.

No more is said than that: whether what lies in the stream, or in a chunk, can be gone past only a run finds out.
"""

from __future__ import annotations

from contextlib import closing
from typing import Final

from cdc.halt import Cause, Halt
from cdc.source.session import connect
from sink.state import halts as sink_halts
from sink.state import sources
from sink.wide.registry import Registry
from widebeam.config.connector import Connector
from widebeam.replay.log import LogWindow
from widebeam.setup import survey
from widebeam.setup.prepare import prepare, start_anew
from widebeam.state import halts

SEEN: Final = {
    Cause.SLOT_GONE: "the slot is there, where the connector left it",
    Cause.SLOT_INVALIDATED: "the slot is there, with all of its WAL",
    Cause.SLOT_AHEAD: "the slot is where the connector left it",
    Cause.OTHER_INCARNATION: "the source has the history that the connector follows",
    Cause.REPLICA_IDENTITY: "the narrow tables' replica identities tell their rows apart",
    Cause.RELATION_CHANGED: "the narrow tables and their columns are those that are mapped",
    Cause.PARTITIONS_CHANGED: "the topic has the partitions that it had",
    Cause.ZONE_RULES: "the rules of time zones are those that the wide times were made by",
}
"""What holds once `resume` has come to its end, of the causes that it looks at."""

UNSEEN: Final = frozenset(
    (
        Cause.UNDECODABLE_STREAM,
        Cause.TRUNCATE,
        Cause.RECORD_TOO_LARGE,
        Cause.CHUNKS_FAILED,
        Cause.REPEATED_FAILURE,
    )
)
"""Causes that only a run meets."""


def told(halt: Halt | None, connector: str) -> str:
    """What became of a halt, and no more than was looked at."""
    goes_on = f"`widebeam run {connector}` goes on."
    if halt is None:
        return f"{connector} was not halted: {goes_on}"
    if halt.cause in SEEN:
        return (
            f"The halt is forgotten ({halt.cause.value}): {SEEN[halt.cause]}. {goes_on} What was changed before that "
            "is still in the stream: where it cannot be gone past, it halts again."
        )
    return (
        f"The halt is forgotten ({halt.cause.value}), and nothing was looked at: {halt.what}\n"
        f"Whether that is mended only `widebeam run {connector}` finds out; if not, it halts again. Before that: "
        f"{halt.remedy}"
    )


def resume(connector: Connector) -> Halt | None:
    """Forget the halt whose cause has been mended; the one that was written down, None if there was none.

    Raises the Halt if its cause has not been mended, or if what was missed meanwhile stays missing: only crossing the
    gap (widebeam.gap) goes on from that.
    """
    dsn = connector.options.target.conninfo()
    prepare(connector)
    source_dsn, name = connector.options.source.conninfo(), "widebeam-resume"
    with (
        connect(dsn, autocommit=True, application_name=name) as target,
        connect(source_dsn, autocommit=True, application_name=name) as source,
    ):
        found = halts.recorded(target, connector.name)
        if found is not None and found.cause is Cause.TRUNCATE and connector.options.sink.on_truncate == "halt":
            raise found
        survey.check(source, target, connector)
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
