"""Halts: the named causes at which a connector stops and waits for a person.

A halt leaves everything in place. It names what was found, where, and the command that goes on from there.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

CONNECTOR: Final = "CONNECTOR"
"""Stands for the connector's name in remedies that are made where it is not known; see `Halt.name`."""

OVER_THE_GAP: Final = (
    f"`widebeam resume {CONNECTOR} --backfill-gap` begins a new stream, and mends by comparing what was not brought; "
    "it says first which cells that would clear."
)
"""What to do where the stream has a gap."""

ANEW: Final = (
    f"`widebeam drop {CONNECTOR} --yes`, then `widebeam run {CONNECTOR}`, fills everything anew, from what the narrow "
    "tables hold."
)
"""What to do where nothing of what there is can be kept."""


class Cause(StrEnum):
    """Why a connector halted; the values are stored and shown, so they never change."""

    SLOT_GONE = "slot_gone"
    SLOT_INVALIDATED = "slot_invalidated"
    SLOT_AHEAD = "slot_ahead"
    OTHER_INCARNATION = "other_incarnation"
    REPLICA_IDENTITY = "replica_identity"
    NOT_PUBLISHED = "not_published"
    UNDECODABLE_STREAM = "undecodable_stream"
    RELATION_CHANGED = "relation_changed"
    TRUNCATE = "truncate"
    TOPIC_RECREATED = "topic_recreated"
    RETENTION_GAP = "retention_gap"
    PARTITIONS_CHANGED = "partitions_changed"
    COMPACTION = "compaction"
    LOG_INCOMPLETE = "log_incomplete"
    RECORD_TOO_LARGE = "record_too_large"
    TARGET_CHANGED = "target_changed"
    CHUNKS_FAILED = "chunks_failed"
    REPEATED_FAILURE = "repeated_failure"
    ZONE_RULES = "zone_rules"


LASTING: Final = frozenset(
    (
        Cause.NOT_PUBLISHED,
        Cause.TOPIC_RECREATED,
        Cause.RETENTION_GAP,
        Cause.COMPACTION,
        Cause.LOG_INCOMPLETE,
        Cause.TARGET_CHANGED,
    )
)
"""Causes that can vanish while what was missed stays missing: such a halt stands until the gap is gone over."""


class Halt(Exception):
    """The connector must stop: `cause`, what was found (with LSN, offset or table), and what to do."""

    def __init__(self, cause: Cause, what: str, remedy: str) -> None:
        super().__init__(cause, what, remedy)
        self.cause = cause
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what} ({self.cause.value}). {self.remedy}"

    def name(self, connector: str) -> Halt:
        """Put the connector's name into the remedy, so that its commands can be run as they stand."""
        self.remedy = self.remedy.replace(CONNECTOR, connector)
        return self
