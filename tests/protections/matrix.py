"""The lines of the matrix: every fault and every bad input that must do no harm, by a short name.

What is not in our hands has a reason instead of a protection that could be switched off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from tests.protections.protection import Protection


class Line(NamedTuple):
    """A line. `reason` is empty where protections keep it."""

    name: str
    what: str
    reason: str = ""


RECOVERS: Final = (
    Line("capture dies", "kill -9 of capture, at any step"),
    Line("death between acks", "capture dies between the broker's acknowledgement and the slot's"),
    Line("capture frozen", "SIGSTOP beyond wal_sender_timeout"),
    Line("walsender ends", "pg_terminate_backend of the walsender; the source crashes"),
    Line("slot in use", "the slot is still active for an old PID; of two captures the second waits"),
    Line("idle table", "an idle table in a busy database holds no WAL"),
    Line("backfill dies", "the backfill dies at COPY, at merge, at marking"),
    Line("broker down", "SIGTERM, SIGKILL, SIGSTOP of the broker; delivery time-out; fatal producer error"),
    Line("rebalance storm", "partitions change hands all the time"),
    Line("zombie sink", "a sink is stopped beyond max.poll.interval, and comes back"),
    Line("offsets reset", "the group's offsets are reset by hand"),
    Line("session ends", "the target's session is terminated in mid-COPY; the target crashes; no connection is left"),
    Line("commit unanswered", "the answer to COMMIT is lost"),
    Line("deadlock", "sinks, chunks and others lock the same rows"),
    Line("column waits", "ADD COLUMN waits in a lock queue"),
    Line("time-out", "a statement times out, or cannot be serialised"),
    Line("disk full", "on target or source"),
    Line("bad network", "slow, lossy, byte by byte, or silent in one direction"),
    Line("clock jump", "the wall clock jumps"),
    Line("fetched at once", "many fetch a server for demo or tests at once, or end in the middle"),
    Line("two runs", "two scheduled runs at once"),
    Line("crash in set-up", "set-up or rollback crashes half-way"),
    Line("large transaction", "2 M rows in one"),
    Line(
        "subtransactions", "aborted subtransactions and two-phase commit", "the server decodes only what is committed"
    ),
    Line("catalog bloat", "an hour without bloat from temporary tables"),
    Line("chunk meets stream", "a chunk and a change, or a truncate, of one cell in any order"),
    Line("rows meet", "several source rows of a cell, in any order of sinks, chunks and replays"),
    Line("joining table", "a new narrow table with rows in it joins while all else goes on"),
    Line("dictionary", "renamed, not to be read, later than its readings, or a name that changes hands"),
    Line(
        "row of several parts", "its parts are set, filled, cleared and truncated one by one, and readers see it whole"
    ),
    Line("truncate", "TRUNCATE of the narrow table, by policy"),
    Line("replay", "going back in the log does not change the end"),
    Line("part fails", "a part that dies starts again; one that fails the same way again and again halts"),
    Line("part hangs", "a part, or who minds them, stands still: systemd and who asks for health are told"),
    Line("silent server", "a server that says nothing holds up who looks on, and nobody else"),
    Line("session limits", "a role's or a database's time limits on statements, locks, idle sessions, transactions"),
    Line("password rotated", "in its file, under running parts"),
    Line("read-only target", "demoted, or locked because its disk is nearly full: waited for, and told"),
    Line("standby conflict", "a standby cancels what is read, to replay what was removed on the primary"),
    Line("slot waits", "for a transaction of somebody's while it is made, or for a standby that is dead"),
    Line("SIGTERM", "drains in time, and leaves no process behind"),
)
HALTS: Final = (
    Line("slot gone", "or invalidated"),
    Line("slot ahead", "of our record"),
    Line("other incarnation", "restore, failover without the slot, a slot made anew"),
    Line("replica identity", "made unusable"),
    Line("not published", "the table is out of the publication"),
    Line("topic recreated", "or gone, or shorter than what was applied"),
    Line("retention gap", "the next offset lies below the log's start"),
    Line("log incomplete", "a gap that no later run of capture mends"),
    Line("partitions added", "to the topic"),
    Line("compaction", "switched on"),
    Line("target changed", "a wide table or column was dropped or altered"),
    Line("over a gap", "`widebeam resume --backfill-gap` mends what differs, beside the new stream"),
    Line("undecodable stream", "an unknown kind, an unknown relation, another width"),
)
EVENTLESS: Final = (
    Line("table replaced", "renamed away, and another of its name"),
    Line("type rewritten", "a column's type is altered"),
    Line("partition attached", "that holds rows, or detached, dropped, truncated alone"),
    Line("column generated", "or made anew"),
    Line("inheritance", "children made later"),
    Line("publication altered", "or the replica identity"),
    Line("update made to fail", "the application's own, by being published"),
)
REFUSED: Final = (
    Line("bad server", "wal_level; no REPLICATION right; no SELECT; another encoding"),
    Line("bad publication", "missing, without update or delete, with a row filter, partitions without root"),
    Line("bad key", "no unique key; a replica identity that does not carry it; unlogged"),
    Line("foreign slot", "of another database or plugin"),
    Line("bad option", "unknown; two keys for one column; a bad LSN, offset or partition"),
    Line("port in use", "where health is to be asked for"),
    Line("secret given", "on the command line or in the file"),
    Line("pool", "between us and a server, that drops settings or shares sessions"),
)
ANSWERED: Final = (
    Line("wrong answer", "green where something is the matter, a proof of nothing, a command that crashes"),
    Line("remedy", "the way on that is printed goes on, and harms nobody"),
    Line("estimate", "chunks, time and disk of a plan, and what it takes then"),
    Line("proposal", "what init guesses loses no distinction"),
)
QUARANTINED: Final = (
    Line("unplaceable", "empty key, another type, unknown discriminator, a key without a column"),
    Line("too many keys", "more columns than the caps allow, wider rows than a page, alike and long names"),
    Line("crowded cell", "rows that fill one cell, where none are to meet"),
    Line("bad record", "undecodable, deep, oversize, invalid UTF-8, somebody else's"),
    Line("refused value", "a value that the target will not have"),
)
ACCEPTED: Final = (
    Line("odd values", "infinity, BC, NaN; every digit; whatever the role's settings are"),
    Line("odd texts", "tabs, line ends, backslashes, `\\N`, empty strings, emoji and Korean names"),
    Line("twice in a batch", "the same cell, in order"),
    Line("unchanged TOAST", "an update that does not say a value"),
    Line("local time", "buckets, days of 23 and 25 hours, a zone's rules that change"),
)
SECURITY: Final = (
    Line("identifiers", "only through psycopg.sql; search_path pinned"),
    Line("secrets", "never in logs, pages or process lists; password files for their owner alone"),
    Line("TLS", "verify-full and SASL_SSL", "libpq and librdkafka check, by the settings that are handed to them"),
    Line(
        "least privilege",
        "a role of its own for each part",
        "the server refuses; tests/widebeam/setup/test_roles.py asks",
    ),
    Line("console", "loopback, CSRF, CSP", "there is no console yet"),
    Line("audit", "each destructive action is written down"),
)
SECTIONS: Final = (
    ("recovers by itself", RECOVERS),
    ("halts", HALTS),
    ("changes without an event", EVENTLESS),
    ("refused by check", REFUSED),
    ("answered", ANSWERED),
    ("quarantined", QUARANTINED),
    ("accepted", ACCEPTED),
    ("security", SECURITY),
)
LINES: Final = tuple(line for _, lines in SECTIONS for line in lines)


def table(protections: Sequence[Protection]) -> str:
    """The matrix as docs/reliability.md has it: each line with the protections that keep it, or the reason."""
    rows = ["| | what | protections that were switched off |", "| --- | --- | --- |"]
    for section, lines in SECTIONS:
        rows.append(f"| **{section}** | | |")
        for line in lines:
            names = ", ".join(each.name for each in protections if line.name in each.keeps)
            rows.append(f"| {line.name} | {line.what} | {names or f'*none: {line.reason}*'} |")
    return "\n".join(rows) + "\n"
