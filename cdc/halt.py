"""Halts: the named causes at which a connector stops and waits for a person.

A halt leaves everything in place. It names what was found, where, and the command that goes on from there.
"""

from __future__ import annotations

from enum import StrEnum


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


class Halt(Exception):
    """The connector must stop: `cause`, what was found (with LSN, offset or table), and what to do."""

    def __init__(self, cause: Cause, what: str, remedy: str) -> None:
        super().__init__(f"{what} ({cause.value}). {remedy}")
        self.cause = cause
        self.what = what
        self.remedy = remedy
