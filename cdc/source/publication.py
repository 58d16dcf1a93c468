"""The publication: made for the narrow tables, and looked at, so that `check` can say what is amiss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg import errors, sql

from cdc.halt import CONNECTOR, OVER_THE_GAP, Cause, Halt
from cdc.source.identity import GENERATED, Identity, identities
from cdc.source.identity_remedy import remedy
from cdc.source.narrow import NarrowTable
from cdc.source.writers import StillWriting, await_writers

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

_COLUMN_LISTS: Final = 150_000
"""The server version that brought column lists and row filters."""
_LOCK_TIMEOUT: Final = "200ms"
"""Writers queue behind us for so long at most."""
_LET_END: Final = 1.0
"""Seconds in which transactions that write may end before anybody has to queue."""
# As JSON, since servers before 15 have no prattrs; it is NULL, too, where all columns are published.
_LISTED: Final = """
SELECT (SELECT array_agg(a.attname::text) FROM pg_attribute a
         WHERE a.attrelid = r.prrelid AND to_jsonb(r) -> 'prattrs' @> to_jsonb(a.attnum))
  FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
  JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE p.pubname = %s AND n.nspname = %s AND c.relname = %s
"""
_OPS: Final = ("insert", "update", "delete", "truncate")


class Published(NamedTuple):
    """What a publication brings of one table.

    `covers` tells whether the table is in it at all (under its own name, not only its partitions' names);
    `lacks_columns` and `lacks_ops` what of ours is not published; `row_filter` is its WHERE, None without one;
    `stored` whether stored generated columns are published.
    """

    covers: bool
    lacks_columns: tuple[str, ...]
    lacks_ops: tuple[str, ...]
    row_filter: str | None
    via_root: bool
    stored: bool = False

    @property
    def whole(self) -> bool:
        """Everything that the connector needs is published."""
        return self.covers and not self.lacks_columns and not self.lacks_ops and self.row_filter is None


def create(connection: Connection, publication: str, *tables: NarrowTable) -> None:
    """Publish `tables`: all four operations, partitions under the root's name, only our columns where that is possible.

    A column list has to hold the columns of the replica identity of the table and of each partition, and none of
    them may be FULL: else the server refuses the application's own UPDATE and DELETE.
    """
    entries = sql.SQL(", ").join(entry(connection, table) for table in tables)
    connection.execute(
        sql.SQL("CREATE PUBLICATION {} FOR TABLE {} WITH (publish = {}, publish_via_partition_root = true{})").format(
            sql.Identifier(publication), entries, sql.Literal(", ".join(_OPS)), stored(connection)
        )
    )


def stored(connection: Connection) -> sql.SQL:
    """The option by which stored generated columns are published, where the server has it: FULL needs them there."""
    return sql.SQL(", publish_generated_columns = stored" if connection.info.server_version >= GENERATED else "")


def add(connection: Connection, publication: str, table: NarrowTable) -> None:
    """Publish one more table, in a transaction of its own; psycopg.errors.LockNotAvailable while it is written to.

    The lock waits for all who write to the table and holds others off until this is committed: so what was written
    before is seen by every later snapshot, and what is written after is in the stream. Nothing is in neither. Who asks
    for it makes the application's other writers queue: so a long transaction is not waited for in that way.
    """
    with _unwritten(connection, table):
        _add(connection, publication, table)


def add_columns(connection: Connection, publication: str, table: NarrowTable) -> None:
    """Publish columns of a table that its column list lacks, as `add` does: the table is taken out and in again."""
    with _unwritten(connection, table):
        name = sql.Identifier(table.schema, table.name)
        connection.execute(sql.SQL("ALTER PUBLICATION {} DROP TABLE {}").format(sql.Identifier(publication), name))
        _add(connection, publication, table)


@contextmanager
def _unwritten(connection: Connection, table: NarrowTable) -> Iterator[None]:
    """A transaction in which nobody writes to the table."""
    try:
        await_writers(connection, [table.quoted], _LET_END)
    except StillWriting as error:
        raise errors.LockNotAvailable(str(error)) from None
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(_LOCK_TIMEOUT)))
        name = sql.Identifier(table.schema, table.name)
        connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(name))
        yield


def _add(connection: Connection, publication: str, table: NarrowTable) -> None:
    connection.execute(
        sql.SQL("ALTER PUBLICATION {} ADD TABLE {}").format(sql.Identifier(publication), entry(connection, table))
    )


def entry(connection: Connection, table: NarrowTable) -> sql.Composed:
    """A table in a publication, with its column list where that is possible. Halt without a usable identity."""
    family = identities(connection, table)
    version = connection.info.server_version
    barren = [identity for identity in family if not identity.usable]
    virtual = [identity for identity in family if identity.refuses(version, stored=True)]
    for amiss, what in (
        (virtual, "REPLICA IDENTITY FULL and virtual generated columns"),
        (barren, "no replica identity"),
    ):
        if amiss:
            raise Halt(
                Cause.REPLICA_IDENTITY,
                f"{', '.join(each.table.text for each in amiss)} has {what}: publishing it would make the "
                "application's own UPDATE and DELETE fail",
                " ".join(remedy(connection, table, each) for each in amiss),
            )
    columns: sql.Composable = sql.SQL("")
    if connection.info.server_version >= _COLUMN_LISTS and not any(identity.full for identity in family):
        names = dict.fromkeys([*table.columns, *(name for identity in family for name in identity.columns)])
        columns = sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, names)))
    return sql.SQL("{}{}").format(sql.Identifier(table.schema, table.name), columns)


def drop(connection: Connection, publication: str) -> None:
    """Drop the publication if it is there."""
    connection.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(sql.Identifier(publication)))


def inspect(connection: Connection, publication: str, table: NarrowTable) -> Published | None:
    """What the publication brings of `table`; None if there is no such publication."""
    row = connection.execute("SELECT to_jsonb(p) FROM pg_publication p WHERE pubname = %s", [publication]).fetchone()
    if row is None:
        return None
    settings: dict[str, Any] = row[0]  # as JSON, since each version of the server has other columns
    lacks_ops = tuple(op for op in _OPS if not settings[f"pub{op}"])
    listed = connection.execute(
        "SELECT to_jsonb(t) FROM pg_publication_tables t WHERE pubname = %s AND schemaname = %s AND tablename = %s",
        [publication, table.schema, table.name],
    ).fetchone()
    if listed is None:
        return Published(False, table.columns, lacks_ops, None, settings["pubviaroot"], _stored(settings))
    published: dict[str, Any] = listed[0]
    attributes = published.get("attnames")
    lacks_columns = () if attributes is None else tuple(name for name in table.columns if name not in attributes)
    filtered, via_root = published.get("rowfilter"), settings["pubviaroot"]
    return Published(True, lacks_columns, lacks_ops, filtered, via_root, _stored(settings))


def _stored(settings: dict[str, Any]) -> bool:
    return settings.get("pubgencols") == "s"


def check_covers(connection: Connection, publication: str, table: NarrowTable) -> None:
    """Updates and deletes say which cell they mean, and publishing them makes none of the application's own fail.

    The server refuses an UPDATE or DELETE of a table without a usable replica identity, or with one of which the
    publication's column list lacks a column. A Halt says how that is mended.
    """
    row = connection.execute(_LISTED, [publication, table.schema, table.name]).fetchone()
    listed: list[str] | None = None if row is None else row[0]
    made = connection.execute("SELECT to_jsonb(p) FROM pg_publication p WHERE pubname = %s", [publication]).fetchone()
    generated = made is not None and _stored(made[0])
    for identity in identities(connection, table):
        refused = (
            not identity.usable
            or identity.refuses(connection.info.server_version, stored=generated)
            or (listed is not None and (identity.full or not set(identity.columns) <= set(listed)))
        )
        if refused or not identity.holds(table):
            shown = "full" if identity.full else f"({', '.join(identity.columns)})"
            amiss = "makes the application's own UPDATE and DELETE fail" if refused else "does not say which cell it is"
            raise Halt(
                Cause.REPLICA_IDENTITY,
                f"the replica identity {shown} of {identity.table}, as it is published, {amiss}",
                f"{_mend(connection, publication, table, identity)} Then `widebeam run {CONNECTOR}`.",
            )


def _mend(connection: Connection, publication: str, table: NarrowTable, identity: Identity) -> str:
    """Publishing the stored generated columns, where that alone is amiss; else another identity."""
    version = connection.info.server_version
    if identity.full and identity.refuses(version, stored=False) and not identity.refuses(version, stored=True):
        statement = sql.SQL("ALTER PUBLICATION {} SET (publish_generated_columns = stored);")
        return statement.format(sql.Identifier(publication)).as_string(connection)
    return remedy(connection, table, identity)


def check(publication: str, found: Published | None, table: NarrowTable) -> None:
    """The publication brings what the connector needs; else a Halt that names what is missing."""
    if found is not None and found.whole:
        return
    if found is None:
        what = f"publication {publication} is gone"
    elif not found.covers:
        what = f"{table.qualified} is not in publication {publication}"
    elif found.row_filter is not None:
        what = f"publication {publication} has a row filter on {table.qualified}: {found.row_filter}"
    else:
        what = (
            f"publication {publication} lacks {', '.join(found.lacks_columns + found.lacks_ops)} of {table.qualified}"
        )
    raise Halt(
        Cause.NOT_PUBLISHED,
        what,
        f"Changes made meanwhile were not published: {OVER_THE_GAP}",
    )
