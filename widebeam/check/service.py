"""How a server's setting is changed and a role's right is given where the server stands: here, or at a managed service.

On a managed service nobody is a superuser: ALTER SYSTEM and the attribute REPLICATION are refused there, and settings
are changed in the service's own place. Sources: the services' documentation on logical replication.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

import psycopg

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


class Service(NamedTuple):
    """A managed service: the role that its administrators have, where settings are, and what wal_level is called."""

    administrators: str
    place: str
    logical: str = "wal_level = logical"


SERVICES: Final = (
    Service("rds_superuser", "the DB (cluster) parameter group of Amazon RDS or Aurora", "rds.logical_replication = 1"),
    Service("cloudsqlsuperuser", "the flags of the Cloud SQL instance", "cloudsql.logical_decoding = on"),
    Service("alloydbsuperuser", "the flags of the AlloyDB instance", "alloydb.logical_decoding = on"),
    Service("azure_pg_admin", "the server parameters of Azure Database for PostgreSQL"),
    Service("neon_superuser", "the Neon project's settings (Logical Replication)"),
    Service("supabase_admin", "the Supabase project's settings (or `supabase postgres-config update`)"),
    Service("doadmin", "the DigitalOcean cluster's advanced configuration"),
    Service("avnadmin", "the advanced configuration of the Aiven service"),
)
_RDS: Final = "rds_replication"


def service(session: Session) -> Service | None:
    """The managed service that the server belongs to, told by a role that it makes; None for one of one's own."""
    names = [each.administrators for each in SERVICES]
    found = {row[0] for row in session.execute("SELECT rolname::text FROM pg_roles WHERE rolname = ANY(%s)", [names])}
    return next((each for each in SERVICES if each.administrators in found), None)


def setting(session: Session, name: str, value: str) -> str:
    """How a setting is changed that takes a restart; or that only the restart is missing."""
    if _waits(session, name, value):
        return f"restart the server: {name} = {value} is set, and waits for that"
    managed = service(session)
    if managed is None:
        return f"ALTER SYSTEM SET {name} = '{value}'; and restart the server"
    said = managed.logical if name == "wal_level" else f"{name} = {value}"
    return f"set {said} in {managed.place}, and restart the server there"


def replication(session: Session, role: str) -> str:
    """The statement that lets a role replicate; `role` is quoted already."""
    granted = session.execute("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = %s)", [_RDS]).fetchone() == (True,)
    return f"GRANT {_RDS} TO {role};" if granted else f"ALTER ROLE {role} REPLICATION;"


def _waits(session: Session, name: str, value: str) -> bool:
    """Whether the files say so already. Only a superuser sees them; all see what was loaded anew since."""
    if session.execute(
        "SELECT has_function_privilege('pg_show_all_file_settings()', 'EXECUTE')"
        " AND has_table_privilege('pg_file_settings', 'SELECT')"
    ).fetchone() == (True,):
        last = session.execute(
            "SELECT setting FROM pg_file_settings WHERE name = %s ORDER BY seqno DESC LIMIT 1", [name]
        ).fetchone()
        return last == (value,)
    row = session.execute("SELECT pending_restart FROM pg_settings WHERE name = %s", [name]).fetchone()
    return row == (True,)
