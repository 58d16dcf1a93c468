"""How a PostgreSQL server is reached, and what of that may be shown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import AfterValidator, Secret, SecretStr

from cdc.source.session import FromFile
from widebeam.config.options.section import Section

_SECRETS: Final = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
"""Of a connection string. Source: PostgreSQL documentation, "Parameter Key Words"."""


def conninfo_parts(dsn: str) -> dict[str, Any]:
    """A connection string or URL as its parts; ValueError, without showing it, if it is neither."""
    try:
        return dict(conninfo_to_dict(dsn))
    except ProgrammingError:
        raise ValueError('expected a libpq connection string ("host=... dbname=...") or a postgresql:// URL') from None


def has_secret(dsn: str) -> bool:
    """Whether a connection string holds a password, or that of the client's key. ValueError as conninfo_parts."""
    parts = conninfo_parts(dsn)
    return any(parts.get(name) for name in _SECRETS)


def _readable(dsn: str) -> str:
    conninfo_parts(dsn)
    return dsn


class Dsn(Secret[Annotated[str, AfterValidator(_readable)]]):
    """A connection string or URL. From the environment it may hold secrets, so that only its place is ever shown."""

    @property
    def parts(self) -> dict[str, Any]:
        """Its parameters, secrets among them."""
        return conninfo_parts(self.get_secret_value())

    @property
    def place(self) -> str:
        """Where the server is: host, port and database, nothing else."""
        parts = self.parts
        shown = (f"{name}={parts[name]}" for name in ("host", "hostaddr", "port", "dbname") if name in parts)
        return ", ".join(shown) or "libpq's defaults"

    def _display(self) -> str:
        return self.place


class Server(Section):
    """What [source] and [target] share: how to reach a PostgreSQL server."""

    side: ClassVar[str] = "server"
    """The section's name, and that of its variables in the environment."""

    dsn: Dsn
    password_file: Path | None = None
    password: SecretStr | None = None

    def conninfo(self) -> str:
        """The connection string with its password: for libpq alone, never to be shown or passed to a process.

        It says whose it is, so that a refused connection can be told as that of a side.
        """
        dsn = make_conninfo(self.dsn.get_secret_value(), fallback_application_name=f"widebeam-{self.side}")
        if self.password is not None:
            return make_conninfo(dsn, password=self.password.get_secret_value())
        if self.password_file is not None and "password" not in self.dsn.parts:
            return FromFile.of(dsn, self.password_file)
        return dsn

    @property
    def shown(self) -> str:
        """Where the server is, for messages."""
        return self.dsn.place
