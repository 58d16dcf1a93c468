"""What becomes of an error: one table, by whose session it came from and by its code. Pure.

A code is PostgreSQL's SQLSTATE or, of Kafka, the name of the error. Two codes of ours stand for failures to which no
server has given one.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Whose(StrEnum):
    """Whose session an error came from; the values are words for messages."""

    SOURCE = "the source"
    TARGET = "the target"
    STREAM = "the replication stream"
    KAFKA = "Kafka"


class Fate(StrEnum):
    """What to do about an error."""

    PASSES = "passes"
    """May be over at the next attempt, over a new session. Tried again within the part's patience, then a halt."""
    WAITS = "waits"
    """The server is away, or takes no writes: somebody ends that. Waited for, however long it takes, and said."""
    REFUSED = "refused"
    """It would not have us: a password, a token or a right, which may just be being changed. As PASSES, and said."""
    CONFLICT = "conflict"
    """A standby has cancelled what we read, to replay what was removed on the primary."""
    POISON = "poison"
    """The target will not have this value, however often it is tried: the quarantine."""
    GONE = "gone"
    """The log may be gone, or a broker does not know of it yet: looked up before anything lasting comes of it."""
    HALTS = "halts"
    """Time mends nothing: the part ends, is started again some times, and a person has to look."""


LOST: Final = "lost"
"""A session that had been let in is no more, and nobody has said why."""
ABSENT: Final = "absent"
"""Nobody answered, or a server that is just starting or going."""
SHUT: Final = "shut"
"""A server that is up would not let us in. libpq keeps the SQLSTATE to itself."""

_ANY: Final = {
    LOST: Fate.PASSES,
    ABSENT: Fate.WAITS,
    SHUT: Fate.REFUSED,
    "08": Fate.WAITS,  # connections
    "25006": Fate.WAITS,  # read-only: demoted to a standby, or its disk is nearly full and somebody has locked it
    "25": Fate.PASSES,  # in a transaction for too long
    "28": Fate.REFUSED,  # 28P01, 28000: password, role, pg_hba.conf
    "40": Fate.PASSES,  # deadlocks, serialisation failures
    "53": Fate.WAITS,  # 53100 the disk is full, 53300 no connection is left
    "53200": Fate.PASSES,  # memory, or room for locks, of which fewer may do
    "53400": Fate.PASSES,  # a limit of a session's own
    "55": Fate.PASSES,  # somebody holds a lock, or the slot
    "57": Fate.PASSES,  # cancelled, idle for too long
    "57P01": Fate.WAITS,  # it is shut down, or somebody has ended our session
    "57P02": Fate.WAITS,  # it has crashed
    "57P03": Fate.WAITS,  # it is just starting
    "57P04": Fate.HALTS,  # the database was dropped
    "58": Fate.PASSES,  # its own files
    "XX": Fate.PASSES,  # its own faults
}
_OF: Final = {
    Whose.SOURCE: {
        "40001": Fate.CONFLICT,  # who only reads has it from a standby alone
        "42": Fate.PASSES,  # a table, a column or a right that is being changed, as the dictionary's
    },
    Whose.TARGET: {
        "22": Fate.POISON,  # a value out of range
        "23": Fate.POISON,  # a constraint that somebody has put on a column
        "54000": Fate.POISON,  # a key that no index takes, a row that no page takes
        "54": Fate.PASSES,
        "42P01": Fate.PASSES,  # a table or a column that was dropped: whoever comes again finds out which
        "42703": Fate.PASSES,
    },
    Whose.STREAM: {},
    Whose.KAFKA: {
        "_TRANSPORT": Fate.WAITS,
        "_ALL_BROKERS_DOWN": Fate.WAITS,
        "_TIMED_OUT": Fate.WAITS,
        "_RESOLVE": Fate.WAITS,
        "_AUTHENTICATION": Fate.REFUSED,
        "SASL_AUTHENTICATION_FAILED": Fate.REFUSED,
        "TOPIC_AUTHORIZATION_FAILED": Fate.REFUSED,
        "GROUP_AUTHORIZATION_FAILED": Fate.REFUSED,
        "CLUSTER_AUTHORIZATION_FAILED": Fate.REFUSED,
        "UNKNOWN_TOPIC_OR_PART": Fate.GONE,
        "_UNKNOWN_TOPIC": Fate.GONE,
        "_UNKNOWN_PARTITION": Fate.GONE,
    },
}


def fate(code: str, whose: Whose) -> Fate:
    """What becomes of an error of this code: the most exact entry counts, and at last one of that session's own."""
    mine = _OF[whose]
    for part in (code, code[:2]):
        found = mine.get(part) or (None if whose is Whose.KAFKA else _ANY.get(part))
        if found is not None:
            return found
    return Fate.HALTS
