"""Every option of a connector, its type, its default and its bounds. connectors/ships.toml explains them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

NAME: Final = re.compile(r"[a-z0-9_][a-z0-9_-]{0,46}")
"""A connector's name: short enough that slot, publication and topic can be named after it."""

_SLOT: Final = re.compile(r"[a-z0-9_]{1,63}")
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")


def _as_text(value: Any) -> Any:
    """librdkafka takes every setting as text; TOML and JSON have booleans and numbers too."""
    return str(value).lower() if isinstance(value, bool | int | float) else value


ClientValue = Annotated[SecretStr, BeforeValidator(_as_text)]


class Section(BaseModel):
    """A section of the file: unknown options are errors, and no error shows a value that may be a secret."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Server(Section):
    """What [source] and [target] share: how to reach a PostgreSQL server."""

    dsn: str
    password_file: Path | None = None
    password: SecretStr | None = None

    @model_validator(mode="before")
    @classmethod
    def _take_password_out(cls, given: Any) -> Any:
        """A password inside a dsn (from the environment: in a file it is refused before) moves into `password`."""
        if not isinstance(given, dict) or not isinstance(given.get("dsn"), str):
            return given
        parts = conninfo_parts(given["dsn"])
        password = parts.pop("password", None)
        if password is None:
            return given
        return {"password": password, **given, "dsn": make_conninfo("", **parts)}

    def conninfo(self) -> str:
        """The connection string with its password: for libpq alone, never to be shown or passed to a process."""
        if self.password is not None:
            return make_conninfo(self.dsn, password=self.password.get_secret_value())
        if self.password_file is not None:
            return make_conninfo(self.dsn, password=self.password_file.read_text(encoding="utf-8").strip("\r\n"))
        return self.dsn

    @property
    def shown(self) -> str:
        """Where the server is, for messages: host, port and database, nothing else."""
        parts = conninfo_parts(self.dsn)
        place = ", ".join(f"{name}={parts[name]}" for name in ("host", "hostaddr", "port", "dbname") if name in parts)
        return place or "libpq's defaults"


def conninfo_parts(dsn: str) -> dict[str, Any]:
    """A connection string or URL as its parts; ValueError, without showing it, if it is neither."""
    try:
        return dict(conninfo_to_dict(dsn))
    except ProgrammingError:
        raise ValueError('expected a libpq connection string ("host=... dbname=...") or a postgresql:// URL') from None


class Value(Section):
    """[source.value]: which column holds the reading."""

    discriminator: str | None = None
    columns: dict[str, str] | list[str]

    @field_validator("columns", mode="before")
    @classmethod
    def _shape(cls, columns: Any) -> Any:
        """One message for a wrong type instead of pydantic's one for each member of the union."""
        names = columns.values() if isinstance(columns, dict) else columns if isinstance(columns, list) else [None]
        if not names or not all(isinstance(name, str) and name for name in names):
            raise ValueError('expected a list of columns, or { value of the discriminator = "column" }')
        return columns

    @model_validator(mode="after")
    def _fits(self) -> Value:
        if self.discriminator is not None and not isinstance(self.columns, dict):
            raise ValueError('`columns` beside a discriminator is { value of the discriminator = "column" }')
        if self.discriminator is None and isinstance(self.columns, dict):
            raise ValueError('`columns` without a discriminator is a list of columns: ["double_v", "long_v"]')
        return self


class Source(Server):
    """[source]: the narrow table and where it is."""

    table: str
    entity: list[str] = Field(min_length=1)
    time: str
    key: str
    value: Value
    slot: str | None = None
    publication: str | None = None

    @field_validator("table")
    @classmethod
    def _qualified(cls, table: str) -> str:
        schema, dot, name = table.partition(".")
        if not (schema and dot and name):
            raise ValueError('expected "schema.table"')
        return table

    @field_validator("slot")
    @classmethod
    def _slot_name(cls, slot: str | None) -> str | None:
        if slot is not None and _SLOT.fullmatch(slot) is None:
            raise ValueError("expected lower-case letters, digits and underscores, 63 at most")
        return slot


class Target(Server):
    """[target]: where the wide tables go."""

    wide_schema: str = Field(default="wide", alias="schema")
    layout: Literal["per_entity", "single"] = "per_entity"
    name: str | None = None

    @model_validator(mode="after")
    def _distinct(self) -> Target:
        if self.layout == "per_entity" and self.name is not None and "{entity}" not in self.name:
            raise ValueError('`name` has to contain {entity} with layout = "per_entity"')
        if self.layout == "single" and self.name is not None and "{entity}" in self.name:
            raise ValueError('`name` cannot contain {entity} with layout = "single": one table holds all entities')
        if self.wide_schema == "widebeam":
            raise ValueError("`schema` cannot be widebeam: that one holds Widebeam's own state")
        return self


class Kafka(Section):
    """[kafka]: the log. Without this section the direct transport is used."""

    bootstrap_servers: str
    topic: str | None = None
    partitions: int = Field(default=8, ge=1, le=1024)
    replication_factor: int = Field(default=1, ge=1)
    retention_hours: int = Field(default=168, ge=1)
    client: dict[str, ClientValue] = {}

    @field_validator("topic")
    @classmethod
    def _topic_name(cls, topic: str | None) -> str | None:
        if topic is not None and _TOPIC.fullmatch(topic) is None:
            raise ValueError("expected letters, digits, dots, underscores and hyphens, 249 at most")
        return topic

    def client_settings(self) -> dict[str, str]:
        """librdkafka's settings with their secrets: for the client alone."""
        return {name: value.get_secret_value() for name, value in self.client.items()}


class Sink(Section):
    """[sink]: how changes are applied."""

    workers: int = Field(default=1, ge=1, le=64)
    batch_rows: int = Field(default=50_000, ge=1, le=1_000_000)
    unknown_key: Literal["add_column", "reject"] = "add_column"
    on_delete: Literal["clear", "ignore"] = "clear"
    on_truncate: Literal["halt", "ignore", "apply"] = "halt"


class Backfill(Section):
    """[backfill]: how the history is read."""

    workers: int = Field(default=1, ge=1, le=64)
    chunk_rows: int = Field(default=200_000, ge=1)
    chunk_hours: float = Field(default=24, gt=0, le=24)
    attempts: int = Field(default=5, ge=1)
    standby_dsn: str | None = Field(default=None, repr=False)  # from the environment it may hold a password

    @field_validator("standby_dsn")
    @classmethod
    def _readable(cls, dsn: str | None) -> str | None:
        if dsn:
            conninfo_parts(dsn)
        return dsn or None


class Options(BaseSettings):
    """A whole connector file. Read it by `widebeam.config.load`, which gives the environment the last word."""

    model_config = SettingsConfigDict(
        env_prefix="WIDEBEAM_", env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    source: Source
    target: Target
    kafka: Kafka | None = None
    sink: Sink = Sink()
    backfill: Backfill = Backfill()
