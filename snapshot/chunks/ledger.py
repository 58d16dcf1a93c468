"""The ledger of chunks: which are planned, who reads one, which are merged, which failed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg

from sink.state.claim import Claim
from snapshot.chunks.plan import Chunk

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_PAGE: Final = 100

# What is written over what is there comes after what only fills, where the two can meet in a cell: a chunk that was
# read before would fill what is cleared. (One that was given up is read anew when it is tried again.)
_DUE: Final = """
SELECT chunk, lower_bound, upper_bound, estimated, source, reads FROM widebeam.chunks AS c
WHERE connector = %(connector)s AND chunk >= %(first)s AND chunk <= %(last)s
AND (state = 'planned' OR state = 'failed' AND retry_at <= now())
AND NOT EXISTS (SELECT FROM widebeam.sources AS s WHERE s.connector = c.connector AND gate_lsn IS NULL
                AND s.name = c.source)
AND (reads = '' OR NOT EXISTS (
    SELECT FROM widebeam.chunks AS fills WHERE fills.connector = c.connector AND fills.reads = ''
    AND (fills.source = c.source OR c.reads = c.source)
    AND fills.state IN ('planned', 'failed') AND (fills.state = 'planned' OR fills.retry_at IS NOT NULL)))
ORDER BY chunk LIMIT %(limit)s
"""


class Counts(NamedTuple):
    """How many chunks are in which state, and rows in them. `failed` ones will be tried again, `given_up` ones not."""

    planned: int = 0
    failed: int = 0
    given_up: int = 0
    merged: int = 0
    void: int = 0
    rows: int = 0  # narrow rows of merged chunks
    cells: int = 0  # cells of merged chunks that were not NULL
    estimated: int = 0  # rows of all chunks, by the plan
    estimated_left: int = 0  # rows of the open ones, by the plan

    @property
    def open(self) -> int:
        """Chunks that a worker still has to merge."""
        return self.planned + self.failed


class Failure(NamedTuple):
    """A chunk that was given up, and the last error."""

    chunk: int
    lower: str | None
    upper: str | None
    attempts: int
    error: str


def write_plan(target: Connection, connector: str, chunks: Iterable[Chunk]) -> bool:
    """Write the whole plan in one transaction; False, and nothing is changed, when there is one already."""
    with target.transaction():
        row = target.execute(
            "SELECT planned_at FROM widebeam.connectors WHERE connector = %s FOR UPDATE", [connector]
        ).fetchone()
        if row is None:
            raise LookupError(f"connector {connector} is not in widebeam.connectors: prepare it first")
        if row[0] is not None:
            return False
        with target.cursor() as cursor:
            _write(cursor, connector, chunks)
        target.execute("UPDATE widebeam.connectors SET planned_at = now() WHERE connector = %s", [connector])
    return True


def add(target: Connection, connector: str, chunks: Iterable[Chunk]) -> None:
    """Write the chunks of a table that joins after those that are there, in the open transaction."""
    target.execute("SELECT FROM widebeam.connectors WHERE connector = %s FOR UPDATE", [connector])
    row = target.execute("SELECT max(chunk) FROM widebeam.chunks WHERE connector = %s", [connector]).fetchone()
    last = 0 if row is None or row[0] is None else int(row[0])
    with target.cursor() as cursor:
        _write(cursor, connector, (each._replace(number=last + n) for n, each in enumerate(chunks, 1)))


def _write(cursor: psycopg.Cursor[tuple[Any, ...]], connector: str, chunks: Iterable[Chunk]) -> None:
    into = "COPY widebeam.chunks (connector, chunk, lower_bound, upper_bound, estimated, source, reads) FROM STDIN"
    with cursor.copy(into) as copy:
        for each in chunks:
            copy.write_row((connector, *each))


def planned(target: Connection, connector: str) -> bool:
    """Whether the plan is written."""
    row = target.execute("SELECT planned_at FROM widebeam.connectors WHERE connector = %s", [connector]).fetchone()
    return row is not None and row[0] is not None


def claim(target: Connection, connector: str) -> Chunk | None:
    """The next chunk that is due and that nobody holds, for this session; None when there is none.

    The claim ends with the session, so with the worker, however that ends. `target` must be in autocommit mode, and
    not behind a pooler that shares sessions.
    """
    first = 0
    while page := _due(target, connector, first, _PAGE):
        for chunk in page:
            if _try(target, connector, chunk.number):
                return chunk
        first = page[-1].number + 1
    return None


def _due(target: Connection, connector: str, first: int, limit: int, last: int | None = None) -> list[Chunk]:
    """Chunks to be read now, from number `first` to `last`."""
    bounds = {"connector": connector, "first": first, "last": 2**62 if last is None else last, "limit": limit}
    return [Chunk(*row) for row in target.execute(_DUE, bounds).fetchall()]


def _try(target: Connection, connector: str, chunk: int) -> bool:
    """Claim, then look again: whoever had the claim before may have merged the chunk meanwhile."""
    if not _claim(connector, chunk).take(target):
        return False
    if _due(target, connector, chunk, 1, last=chunk):
        return True
    release(target, connector, chunk)
    return False


def release(target: Connection, connector: str, chunk: int) -> None:
    """Give a claim back."""
    _claim(connector, chunk).give_back(target)


def _claim(connector: str, chunk: int) -> Claim:
    return Claim(connector, f"chunk {chunk}")


def lock(target: Connection, connector: str, chunk: int) -> bool:
    """Take the chunk's row FOR UPDATE in the open transaction; False when the chunk is not open any more (void).

    From here on no sink can write a tombstone of this chunk; read them in a later statement.
    """
    row = target.execute(
        "SELECT state IN ('planned', 'failed') FROM widebeam.chunks WHERE connector = %s AND chunk = %s FOR UPDATE",
        [connector, chunk],
    ).fetchone()
    return row is not None and bool(row[0])


def mark_merged(target: Connection, connector: str, chunk: int, *, rows: int, cells: int, seconds: float) -> None:
    """Write down, in the transaction that merges it, that the chunk is merged."""
    target.execute(
        "UPDATE widebeam.chunks SET state = 'merged', rows = %s, cells = %s, seconds = %s, merged_at = now(),"
        " error = NULL, retry_at = NULL WHERE connector = %s AND chunk = %s",
        [rows, cells, seconds, connector, chunk],
    )


def mark_failed(target: Connection, connector: str, chunk: int, *, error: str, attempts: int, backoff: float) -> None:
    """Write down that an attempt failed: due again after `backoff` seconds, doubled with each attempt.

    After `attempts` of them the chunk is given up: it stays failed, without a time to try it again.
    """
    target.execute(
        "UPDATE widebeam.chunks SET state = 'failed', attempts = attempts + 1, error = %(error)s,"
        " retry_at = CASE WHEN attempts + 1 < %(limit)s"
        " THEN now() + make_interval(secs => %(backoff)s * 2 ^ least(attempts, 10)) END"
        " WHERE connector = %(connector)s AND chunk = %(chunk)s AND state IN ('planned', 'failed')",
        {"error": error, "limit": attempts, "backoff": backoff, "connector": connector, "chunk": chunk},
    )


def postpone(target: Connection, connector: str, chunk: int, *, why: str, seconds: float) -> None:
    """Rest a chunk for which it is not the time: that is no failed attempt."""
    target.execute(
        "UPDATE widebeam.chunks SET state = 'failed', error = %s, retry_at = now() + make_interval(secs => %s)"
        " WHERE connector = %s AND chunk = %s AND state IN ('planned', 'failed')",
        [why, seconds, connector, chunk],
    )


def reopen(target: Connection, connector: str) -> int:
    """Give the chunks that were given up new attempts (somebody has mended the cause); how many there were."""
    return target.execute(
        "UPDATE widebeam.chunks SET state = 'planned', attempts = 0"
        " WHERE connector = %s AND state = 'failed' AND retry_at IS NULL",
        [connector],
    ).rowcount


def counts(target: Connection, connector: str) -> Counts:
    """Chunks by state, for status and progress bars."""
    row = target.execute(
        "SELECT count(*) FILTER (WHERE state = 'planned'),"
        " count(*) FILTER (WHERE state = 'failed' AND retry_at IS NOT NULL),"
        " count(*) FILTER (WHERE state = 'failed' AND retry_at IS NULL),"
        " count(*) FILTER (WHERE state = 'merged'), count(*) FILTER (WHERE state = 'void'),"
        " coalesce(sum(rows) FILTER (WHERE state = 'merged'), 0)::bigint,"
        " coalesce(sum(cells) FILTER (WHERE state = 'merged'), 0)::bigint,"
        " coalesce(sum(estimated), 0)::bigint,"
        " coalesce(sum(estimated) FILTER (WHERE state IN ('planned', 'failed')), 0)::bigint"
        " FROM widebeam.chunks WHERE connector = %s",
        [connector],
    ).fetchone()
    return Counts() if row is None else Counts(*row)


def given_up(target: Connection, connector: str, limit: int = 20) -> list[Failure]:
    """The chunks that were given up, in order."""
    rows = target.execute(
        "SELECT chunk, lower_bound, upper_bound, attempts, coalesce(error, '') FROM widebeam.chunks"
        " WHERE connector = %s AND state = 'failed' AND retry_at IS NULL ORDER BY chunk LIMIT %s",
        [connector, limit],
    ).fetchall()
    return [Failure(*row) for row in rows]
