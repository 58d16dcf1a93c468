"""Preconditions of the source's server: what logical replication needs of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any, Final, TypeAlias

import psycopg

from cdc.source.session import SharedSession, connect_to_read
from widebeam.check.service import replication, setting
from widebeam.config.connector import Connector
from widebeam.finding import Finding, first_line, statement

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_STANDBY_SECONDS: Final = 10

OLDEST: Final = 140000
"""pgoutput carries logical messages (our barriers) from PostgreSQL 14 on."""


def version(session: Session, _: Connector) -> Iterator[Finding]:
    """A server that has all that the protocols need."""
    if session.info.server_version < OLDEST:
        yield Finding(
            f"PostgreSQL {session.info.parameter_status('server_version')} is too old",
            "",
            "upgrade the server to PostgreSQL 14 or newer",
        )


def primary(session: Session, _: Connector) -> Iterator[Finding]:
    """The primary itself: the publication is made there, and gate G asks it."""
    if _scalar(session, "SELECT pg_is_in_recovery()"):
        yield Finding("is a standby", "", "set `dsn` to the primary; history can be read from `standby_dsn`")


def wal_level(session: Session, _: Connector) -> Iterator[Finding]:
    """WAL that holds what logical decoding needs."""
    level = _scalar(session, "SHOW wal_level")
    if level != "logical":
        yield Finding(f"wal_level is {level}", "", setting(session, "wal_level", "logical"))


def slots(session: Session, connector: Connector) -> Iterator[Finding]:
    """A free replication slot, or ours."""
    names = [row[0] for row in session.execute("SELECT slot_name FROM pg_replication_slots")]
    limit = int(_scalar(session, "SHOW max_replication_slots"))
    if connector.slot not in names and len(names) >= limit:
        yield Finding(
            f"all {limit} replication slots are taken: {', '.join(names) or 'none is allowed'}",
            "",
            f"{setting(session, 'max_replication_slots', str(max(limit + 1, 10)))} (or drop a slot that nobody needs)",
        )


def senders(session: Session, connector: Connector) -> Iterator[Finding]:
    """A free walsender, unless our slot has one."""
    ours = _scalar(session, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = %s AND active", connector.slot)
    taken = int(_scalar(session, "SELECT count(*) FROM pg_stat_replication"))
    limit = int(_scalar(session, "SHOW max_wal_senders"))
    if not ours and taken >= limit:
        yield Finding(
            f"all {limit} walsenders are taken",
            "",
            setting(session, "max_wal_senders", str(max(limit + 1, 10))),
        )


def own_slot(session: Session, connector: Connector) -> Iterator[Finding]:
    """A slot of our name that is really ours: of this database and of pgoutput."""
    row = session.execute(
        "SELECT plugin, database, slot_type, database IS NOT DISTINCT FROM current_database(), temporary "
        "FROM pg_replication_slots WHERE slot_name = %s",
        [connector.slot],
    ).fetchone()
    if row is None:
        return
    plugin, database, kind, here, temporary = row
    if (plugin, here, kind, temporary) != ("pgoutput", True, "logical", False):
        yield Finding(
            f"the slot {connector.slot} is somebody else's (plugin {plugin}, database {database})",
            "",
            f'set `slot = "{_free(session, connector.slot)}"` in [source] of {connector.file}',
        )


def _free(session: Session, name: str) -> str:
    """A name like this one, that no slot has."""
    taken = {row[0] for row in session.execute("SELECT slot_name::text FROM pg_replication_slots")}
    return next(other for number in count(2) if (other := f"{name[:60]}_{number}") not in taken)


def replication_right(session: Session, _: Connector) -> Iterator[Finding]:
    """The right to replicate: the role's attribute, or the role that managed services grant in its place."""
    role, may = session.execute(
        "SELECT current_user::text, rolreplication OR rolsuper OR EXISTS (SELECT FROM pg_roles r "
        "WHERE r.rolname = 'rds_replication' AND pg_has_role(current_user, r.oid, 'USAGE')) "
        "FROM pg_roles WHERE rolname = current_user"
    ).fetchone() or ("?", False)
    if not may:
        yield Finding(f"the role {role} may not replicate", "", replication(session, statement(session, "{}", role)))


def encoding(session: Session, _: Connector) -> Iterator[Finding]:
    """UTF8: text in another encoding has no one form on the way."""
    found = _scalar(session, "SHOW server_encoding")
    if found != "UTF8":
        yield Finding(
            f"the database's encoding is {found}",
            "",
            "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0; and move the data by pg_dump",
        )


def _scalar(session: Session, query: str, *parameters: object) -> Any:
    row = session.execute(query, parameters or None).fetchone()
    return None if row is None else row[0]


def standby_findings(connector: Connector) -> Iterator[Finding]:
    """What stands in the way of reading chunks over `standby_dsn`; nothing where there is none."""
    given = connector.options.backfill.standby_dsn
    if given is None:
        return
    dsn, where = given.get_secret_value(), f"standby ({given.place})"
    remedy = "set `standby_dsn` of [backfill] to a standby of the source itself, or leave it out"
    try:
        system = _system_of(dsn)
    except SharedSession as error:
        yield Finding(first_line(error), where, remedy)
        return
    except psycopg.Error as error:
        yield Finding(f"cannot be reached: {first_line(error)}", where, f"start it, or {remedy}")
        return
    try:
        source = _system_of(connector.options.source.conninfo())
    except psycopg.Error:
        return  # the checks of the source tell that
    if system != source:
        yield Finding(f"is of system {system}, and the source is of system {source}", where, remedy)


def _system_of(dsn: str) -> int:
    with connect_to_read(dsn, connect_timeout=_STANDBY_SECONDS) as session:
        row = session.execute("SELECT system_identifier FROM pg_control_system()").fetchone()
    return 0 if row is None else int(row[0])


CHECKS: Final = (version, primary, wal_level, slots, senders, own_slot, replication_right, encoding)
