"""Every option of a connector, its type, its default and its bounds. connectors/ships.toml explains them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from cdc.moment import TimeForm
from sink.period import Unit
from widebeam.pattern import checked
from widebeam.select_list import select_list

NAME: Final = re.compile(r"[a-z0-9_][a-z0-9_-]{0,46}")
"""A connector's name: short enough that slot, publication and topic can be named after it."""

_GROUP: Final = re.compile(r"[^\W\d_][\w-]{0,29}")
_SLOT: Final = re.compile(r"[a-z0-9_]{1,63}")
_SPAN: Final = re.compile(r"(\d{1,9}) ?(us|ms|s|min|h|d)")
_UNITS: Final = {"us": 1, "ms": 1_000, "s": 10**6, "min": 60 * 10**6, "h": 3600 * 10**6, "d": 86_400 * 10**6}
_MOST: Final = 2**31 - 1
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")


def _as_text(value: Any) -> Any:
    """librdkafka takes every setting as text; TOML and JSON have booleans and numbers too."""
    return str(value).lower() if isinstance(value, bool | int | float) else value


ClientValue = Annotated[SecretStr, BeforeValidator(_as_text)]


def microseconds(span: str) -> int:
    """A span of time ("15 s", "500 ms", "1 min", "1 h", "1 d") in microseconds; ValueError if it is none."""
    match = _SPAN.fullmatch(span)
    if match is None or int(match[1]) == 0:
        raise ValueError('expected a span of time: "15 s", "500 ms", "1 min", "1 h" or "1 d"')
    return int(match[1]) * _UNITS[match[2]]


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


def has_secret(dsn: str) -> bool:
    """Whether a connection string holds a password, or that of the client's key. ValueError as conninfo_parts."""
    parts = conninfo_parts(dsn)
    return any(parts.get(name) for name in ("password", "sslpassword", "oauth_client_secret"))


def conninfo_parts(dsn: str) -> dict[str, Any]:
    """A connection string or URL as its parts; ValueError, without showing it, if it is neither."""
    try:
        return dict(conninfo_to_dict(dsn))
    except ProgrammingError:
        raise ValueError('expected a libpq connection string ("host=... dbname=...") or a postgresql:// URL') from None


def _names(given: Any) -> Any:
    """One name or a list of them, as a list."""
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ValueError('expected a text in quotes, or a list of them: ["clock", "ns"]')
    return names


Names = Annotated[list[str], BeforeValidator(_names)]


class Value(Section):
    """[source.value]: which column holds the reading."""

    discriminator: str | None = None
    columns: dict[str, str] | list[str]
    numbers: list[str] = []
    nulls: list[str] = []
    measures: bool = False
    measure_separator: str = "."

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
        if self.discriminator is not None and self.measures:
            raise ValueError("`measures` takes every value column, and a discriminator only one of them")
        if strangers := [name for name in self.numbers if name not in self.names]:
            raise ValueError(f"`numbers` has {strangers[0]}, which is none of `columns`")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The value columns, each once."""
        return tuple(dict.fromkeys(self.columns.values() if isinstance(self.columns, dict) else self.columns))


class Dictionary(Section):
    """[source.dictionary]: ids and their names, read from the source."""

    column: str
    query: str = Field(max_length=10_000)
    columns: list[str] = []

    @model_validator(mode="after")
    def _named(self) -> Dictionary:
        if not self.names:
            raise ValueError(
                "what the query's columns are called is not plain to see: name those after the id in `columns`"
            )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The virtual columns: what the query's columns after the first are called."""
        return tuple(self.columns or (select_list(self.query) or [])[1:])


class Source(Server):
    """[source]: the narrow tables, how to read them, and where they are."""

    table: str | None = None
    tables: list[str] = []
    table_pattern: str | None = None
    entity: list[str]
    time: Names
    time_form: TimeForm = "native"
    time_zone: str | None = None
    time_bucket: str | None = None
    key: Annotated[Names, Field(min_length=1)]
    key_separator: str = "/"
    labels: str | None = None
    where: dict[str, list[str]] = {}
    several: Literal["refuse", "first", "last"] = "refuse"
    order_by: list[str] = []
    dictionary: Dictionary | None = None
    value: Value
    slot: str | None = None
    publication: str | None = None
    failover: bool = True
    watch_seconds: float = Field(default=10.0, gt=0, le=3600)

    @field_validator("table_pattern", "time_zone", "time_bucket", "labels", mode="before")
    @classmethod
    def _empty_is_none(cls, given: Any) -> Any:
        return given or None

    @field_validator("table", "tables")
    @classmethod
    def _qualified(cls, given: str | list[str] | None) -> str | list[str] | None:
        for table in [given] if isinstance(given, str) else given or []:
            schema, dot, name = table.partition(".")
            if not (schema and dot and name):
                raise ValueError('expected "schema.table"')
            if "%" in schema:
                raise ValueError("a schema is named whole: % is for the table's name")
        return given

    @field_validator("table_pattern")
    @classmethod
    def _pattern(cls, pattern: str | None) -> str | None:
        if pattern is not None and checked(pattern).groups < 1:
            raise ValueError("expected a regular expression with a group, which is the virtual column `table`")
        return pattern

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, zone: str | None) -> str | None:
        try:
            if zone is not None:
                ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError('expected the name of a time zone: "Europe/Oslo"') from None
        return zone

    @field_validator("time_bucket")
    @classmethod
    def _bucket(cls, bucket: str | None) -> str | None:
        if bucket is not None:
            microseconds(bucket)
        return bucket

    @field_validator("slot")
    @classmethod
    def _slot_name(cls, slot: str | None) -> str | None:
        if slot is not None and _SLOT.fullmatch(slot) is None:
            raise ValueError("expected lower-case letters, digits and underscores, 63 at most")
        return slot

    @model_validator(mode="after")
    def _fits(self) -> Source:
        if (self.table is None) == (not self.tables):
            raise ValueError("expected either `table` or `tables`")
        wanted = 2 if self.time_form == "s_ns" else 1
        if len(self.time) not in (wanted, 0 if self.time_form == "native" else wanted):
            raise ValueError(f'`time` has to name {wanted} columns with time_form = "{self.time_form}"')
        if self.time_zone is not None and self.time_form != "native":
            raise ValueError("`time_zone` is for a column of type timestamp: an epoch is UTC")
        if not self.time and (self.time_bucket or self.time_zone):
            raise ValueError("`time_bucket` and `time_zone` need a `time`")
        if not self.time and not self.entity:
            raise ValueError("without `entity` and without `time` there are no rows: name one of them")
        if self.several == "refuse" and (self.time_bucket is not None or self.time_form == "epoch_float"):
            raise ValueError('times are rounded, so that several readings can meet: set several = "first" or "last"')
        if self.labels is None and any(name.endswith(".*") for name in self.key):
            raise ValueError("a key of `.*` needs `labels`, the jsonb column that it means")
        return self


class Group(Section):
    """[[target.groups]]: keys that have part tables and a view of their own."""

    name: str
    keys: list[str] = []
    pattern: str | None = None

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str) -> str:
        if _GROUP.fullmatch(name) is None:
            raise ValueError("expected a letter, then letters, digits, underscores and hyphens, 30 at most")
        return name

    @field_validator("pattern")
    @classmethod
    def _regular(cls, pattern: str | None) -> str | None:
        checked(pattern or "")
        return pattern or None

    @model_validator(mode="after")
    def _says_what(self) -> Group:
        if not self.keys and self.pattern is None:
            raise ValueError("expected `keys`, a `pattern`, or both: which keys are in the group")
        return self


class Target(Server):
    """[target]: where the wide tables go."""

    wide_schema: str = Field(default="wide", alias="schema")
    layout: Literal["per_entity", "single"] = "per_entity"
    name: str | None = None
    groups: list[Group] = []
    readers: list[str] = []
    partition_by: Unit | None = None

    @field_validator("partition_by", mode="before")
    @classmethod
    def _empty_is_none(cls, given: Any) -> Any:
        return given or None

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
    replication_factor: int = Field(default=1, ge=1, le=1024)
    retention_hours: int = Field(default=168, ge=1, le=1_000_000)
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
    unknown_key: Literal["add_column", "overflow", "reject"] = "add_column"
    type_conflict: Literal["quarantine", "widen", "null"] = "quarantine"
    columns_per_table: int = Field(default=5_000, ge=1, le=_MOST)
    columns_per_hour: int = Field(default=20_000, ge=1, le=_MOST)
    on_delete: Literal["clear", "ignore"] = "clear"
    on_truncate: Literal["halt", "ignore", "apply"] = "halt"


class Backfill(Section):
    """[backfill]: how the history is read."""

    workers: int = Field(default=1, ge=1, le=64)
    chunk_rows: int = Field(default=200_000, ge=1, le=_MOST)
    chunk_hours: float = Field(default=24, gt=0, le=24)
    attempts: int = Field(default=5, ge=1, le=_MOST)
    standby_dsn: str | None = Field(default=None, repr=False)  # from the environment it may hold a password

    @field_validator("standby_dsn")
    @classmethod
    def _readable(cls, dsn: str | None) -> str | None:
        if dsn:
            conninfo_parts(dsn)
        return dsn or None


class Run(Section):
    """[run]: how `widebeam run` minds its parts."""

    deaths: int = Field(default=10, ge=1, le=_MOST)
    within_seconds: float = Field(default=900.0, gt=0, le=86_400)
    well_after_seconds: float = Field(default=60.0, gt=0, le=86_400)
    longest_pause_seconds: float = Field(default=30.0, gt=0, le=3600)
    drain_seconds: float = Field(default=40.0, ge=0, le=3600)
    hung_after_seconds: float = Field(default=900.0, ge=60, le=86_400)


class Health(Section):
    """[health]: where a run, or a part alone, is asked how it is."""

    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    address: str = "127.0.0.1"

    @field_validator("port", mode="before")
    @classmethod
    def _none(cls, given: Any) -> Any:
        return None if given in (0, "0", "") else given


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
    run: Run = Run()
    health: Health = Health()
