"""Preconditions of the target: that wide tables and Widebeam's own state can be made and written there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import psycopg

from cdc.source.session import connect
from widebeam.check.server import encoding, version
from widebeam.check.service import setting
from widebeam.config.connector import Connector
from widebeam.finding import Finding, statement
from widebeam.plan.locks import lack
from widebeam.state import control

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

CONTROL: Final = "widebeam"
"""The schema of Widebeam's own state."""


def writable(session: Session, connector: Connector) -> Iterator[Finding]:
    """A primary whose transactions can write. (Our own session is read-only, so another one is asked.)"""
    with connect(connector.options.target.conninfo(), autocommit=True, connect_timeout=10) as as_a_run:
        recovering, read_only = as_a_run.execute(
            "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on'"
        ).fetchone() or (False, False)
    if recovering:
        yield Finding("is a standby", "", "set `dsn` of [target] to the primary")
    elif read_only:
        # For our role here alone: others may have been kept from writing on purpose. It wins over every other setting.
        template = "ALTER ROLE {} IN DATABASE {} SET default_transaction_read_only = off;"
        remedy = statement(session, template, session.info.user, session.info.dbname)
        yield Finding("transactions are read-only by default", "", remedy)


def known(session: Session, _: Connector) -> Iterator[Finding]:
    """A control schema that this program knows."""
    found = control.made(session)
    if found is not None and found.version > control.VERSION:
        yield Finding(
            f"the schema widebeam is of version {found.version}, and this Widebeam knows version {control.VERSION}",
            "",
            "install the Widebeam that made it, or a newer one",
        )


def may_create(session: Session, connector: Connector) -> Iterator[Finding]:
    """CREATE in both schemas, or on the database if they are not there yet."""
    database, role = session.info.dbname, session.info.user
    may = session.execute("SELECT has_database_privilege(current_database(), 'CREATE')").fetchone()
    for schema in (CONTROL, connector.options.target.wide_schema):
        row = session.execute(
            "SELECT has_schema_privilege(oid, 'CREATE') AND has_schema_privilege(oid, 'USAGE') "
            "FROM pg_namespace WHERE nspname = %s",
            [schema],
        ).fetchone()
        if row is None and not (may and may[0]):
            yield Finding(
                f"the role {role} may not create the schema {schema}",
                "",
                statement(session, "CREATE SCHEMA {0}; GRANT USAGE, CREATE ON SCHEMA {0} TO {1};", schema, role),
            )
        elif row is not None and not row[0]:
            yield Finding(
                f"the role {role} may not create tables in the schema {schema} of {database}",
                "",
                statement(session, "GRANT USAGE, CREATE ON SCHEMA {} TO {};", schema, role),
            )


def may_stage(session: Session, _: Connector) -> Iterator[Finding]:
    """Temporary tables: changes are staged in them."""
    row = session.execute("SELECT has_database_privilege(current_database(), 'TEMPORARY')").fetchone()
    if not (row and row[0]):
        remedy = statement(session, "GRANT TEMPORARY ON DATABASE {} TO {};", session.info.dbname, session.info.user)
        yield Finding(f"the role {session.info.user} may not make temporary tables", "", remedy)


def readers(session: Session, connector: Connector) -> Iterator[Finding]:
    """Roles to which the wide views are opened."""
    known = {row[0] for row in session.execute("SELECT rolname FROM pg_roles")}
    for role in connector.options.target.readers:
        if role not in known:
            yield Finding(
                f"there is no role {role}, which is one of `readers`", "", statement(session, "CREATE ROLE {};", role)
            )


def connections(session: Session, connector: Connector) -> Iterator[Finding]:
    """Room for the sessions of every part, beside those that there are."""
    needed = 4 + 2 * (connector.options.sink.workers + connector.options.backfill.workers)
    limit, taken = session.execute(
        "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int, "
        "(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' "
        "AND application_name NOT LIKE 'widebeam%%')"
    ).fetchone() or (0, 0)
    if limit - taken < needed:
        yield Finding(
            f"{needed} connections are needed, {max(limit - taken, 0)} of {limit} are free",
            "",
            f"{setting(session, 'max_connections', str(limit + needed + 10))}, or fewer `workers` in {connector.file}",
        )


def locks(session: Session, connector: Connector) -> Iterator[Finding]:
    """Room for the locks of what writes all wide tables in one transaction, as far as they are made."""
    if session.execute("SELECT to_regclass('widebeam.chunks') IS NULL").fetchone() == (True,):
        return
    query = (
        "SELECT count(*), EXISTS (SELECT FROM widebeam.chunks WHERE connector = %(connector)s"
        " AND state IN ('planned', 'failed')) FROM widebeam.tables WHERE connector = %(connector)s"
    )
    tables, filling = session.execute(query, {"connector": connector.name}).fetchone() or (0, False)
    if not filling and connector.options.sink.on_truncate != "apply":
        return
    found = lack(session, tables, connector.options.backfill.workers, connector.options.sink.workers)
    if found is not None:
        yield Finding(
            f"a chunk or a truncate can write all {tables} wide tables in one transaction, with {found.needed} locks"
            f" in all, and there is room for {found.room}",
            "",
            setting(session, "max_locks_per_transaction", str(found.setting)),
        )


CHECKS: Final = (version, encoding, writable, known, may_create, may_stage, readers, connections, locks)
