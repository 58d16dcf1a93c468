"""Preconditions of the narrow table: that it is there, that it is logged, and that we may read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg

from cdc.source.identity import GENERATED
from cdc.source.table_name import TableName
from widebeam.check.service import service
from widebeam.config.connector import Connector
from widebeam.finding import Finding, statement

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_KINDS: Final = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "i": "an index", "S": "a sequence"}


class Found(NamedTuple):
    """The narrow table as pg_class has it."""

    oid: int
    kind: str
    persistence: str
    identity: str

    @property
    def partitioned(self) -> bool:
        """Whether its rows are in partitions."""
        return self.kind == "p"


def find(session: Session, connector: Connector) -> Found | None:
    """The mapped table, None if there is none of that name or it is no table."""
    row = session.execute(
        "SELECT c.oid, relkind::text, relpersistence::text, relreplident::text FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = %s AND relname = %s",
        [connector.table.schema, connector.table.name],
    ).fetchone()
    return None if row is None else Found(*row)


def leaves(session: Session, table: Found) -> list[tuple[int, str, str, str, str]]:
    """The tables that hold the rows: the table itself or its partitions (oid, schema, name, persistence, identity)."""
    return session.execute(
        "SELECT c.oid, nspname::text, relname::text, relpersistence::text, relreplident::text "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
        "WHERE relkind = 'r' AND c.oid IN (SELECT %(t)s::oid UNION SELECT relid FROM pg_partition_tree(%(t)s::oid)) "
        "ORDER BY 2, 3",
        {"t": table.oid},
    ).fetchall()


def table_exists(session: Session, connector: Connector) -> Iterator[Finding]:
    """A plain or partitioned table of that name."""
    table, place = find(session, connector), connector.table.qualified
    if table is None:
        alike = [TableName(*row).text for row in session.execute(
            "SELECT schemaname::text, tablename::text FROM pg_tables WHERE tablename = %s OR schemaname = %s LIMIT 5",
            [connector.table.name, connector.table.schema],
        )]  # fmt: skip
        hint = f" (there is {', '.join(alike)})" if alike else ""
        yield Finding(f"the table {place} does not exist", "", f"set `table` in [source] of {connector.file}{hint}")
    elif table.kind not in "rp":
        kind = _KINDS.get(table.kind, "no table")
        yield Finding(f"{place} is {kind}", "", f"set `table` in [source] of {connector.file} to a table")


def logged(session: Session, connector: Connector) -> Iterator[Finding]:
    """A table that writes WAL."""
    table = find(session, connector)
    for _, schema, name, persistence, _ in leaves(session, table) if table else ():
        if persistence != "p":
            yield Finding(
                f"{TableName(schema, name)} is not logged: its changes are not in the WAL",
                "",
                statement(session, "ALTER TABLE {} SET LOGGED;", (schema, name)),
            )


def columns_exist(session: Session, connector: Connector) -> Iterator[Finding]:
    """All mapped columns, none of them generated (those are not replicated)."""
    table = find(session, connector)
    if table is None:
        return
    there: dict[str, str] = dict(
        session.execute(
            "SELECT attname::text, attgenerated::text FROM pg_attribute "
            "WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped",
            [table.oid],
        ).fetchall()
    )
    missing = [column for column in connector.table.columns if column not in there]
    if missing:
        yield Finding(
            f"{connector.table.qualified} has no column {', '.join(missing)}",
            "",
            f"name columns of the table in [source] of {connector.file}; it has {', '.join(there)}",
        )
    published = "s" if session.info.server_version >= GENERATED else ""
    for column in connector.table.columns:
        kind = there.get(column)
        if kind and kind != published:
            yield _not_replicated(session, connector, table, column)


def _not_replicated(session: Session, connector: Connector, table: Found, column: str) -> Finding:
    """A generated column that the server does not publish. What it is made of is: the application's column stays."""
    expression, made_of = session.execute(
        "SELECT pg_get_expr(adbin, adrelid), ARRAY(SELECT DISTINCT a.attname::text FROM pg_depend d"
        " JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid"
        " WHERE d.classid = 'pg_attrdef'::regclass AND d.objid = pg_attrdef.oid"
        " AND d.refclassid = 'pg_class'::regclass AND d.refobjid = adrelid AND d.refobjsubid <> adnum"
        " ORDER BY 1)"
        " FROM pg_attrdef JOIN pg_attribute ON (attrelid, attnum) = (adrelid, adnum)"
        " WHERE adrelid = %s AND attname = %s",
        [table.oid, column],
    ).fetchone() or ("?", [])
    sources = ", ".join(made_of) or "no column"
    return Finding(
        f"the column {column} of {connector.table.qualified} is generated as {expression}, and its values are not "
        "replicated",
        "",
        f"in [source] of {connector.file}, name what it is made of in its place: {sources}"
        " (an epoch can be a time: `time_form`)",
    )


def may_read(session: Session, connector: Connector) -> Iterator[Finding]:
    """SELECT on the table's mapped columns, and USAGE of its schema."""
    table = find(session, connector)
    if table is None:
        return
    role = session.info.user
    usage, rows_hidden = session.execute(
        "SELECT has_schema_privilege(%s, 'USAGE'), row_security_active(%s::oid)",
        [connector.table.schema, table.oid],
    ).fetchone() or (False, False)
    readable = session.execute(
        "SELECT has_table_privilege(%(t)s::oid, 'SELECT') "
        "OR bool_and(has_column_privilege(%(t)s::oid, attnum, 'SELECT')) "
        "FROM pg_attribute WHERE attrelid = %(t)s AND attname = ANY(%(c)s) AND NOT attisdropped",
        {"t": table.oid, "c": list(connector.table.columns)},
    ).fetchone()
    if not usage:
        remedy = statement(session, "GRANT USAGE ON SCHEMA {} TO {};", connector.table.schema, role)
        yield Finding(f"the role {role} may not use the schema {connector.table.schema}", "", remedy)
    if not (readable and readable[0]):
        remedy = statement(session, "GRANT SELECT ON TABLE {} TO {};", pair(connector), role)
        yield Finding(f"the role {role} may not read {connector.table.qualified}", "", remedy)
    if rows_hidden:
        yield Finding(
            f"row security hides rows of {connector.table.qualified} from {role}", "", _past(session, table, role)
        )


def _past(session: Session, table: Found, role: str) -> str:
    """How a role gets past row security: a policy of its own is not enough, since rows could be hidden by others.

    The attribute takes a superuser, which a managed service has not; there, the rights of the owner, unless it has
    subjected itself as well.
    """
    owner, forced = session.execute(
        "SELECT pg_get_userbyid(relowner)::text, relforcerowsecurity FROM pg_class WHERE oid = %s", [table.oid]
    ).fetchone() or (role, True)
    if forced or service(session) is None:
        return statement(session, "ALTER ROLE {} BYPASSRLS;", role)
    return statement(session, "GRANT {} TO {};", owner, role)


def pair(connector: Connector) -> tuple[str, str]:
    """The table's name for `statement`."""
    return connector.table.schema, connector.table.name


CHECKS: Final = (table_exists, logged, columns_exist, may_read)
