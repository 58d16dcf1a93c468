"""[kafka], [sink], [backfill], [run] and [health]: how the parts of a pipeline work."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from widebeam.config.options.section import Section
from widebeam.config.options.server import Dsn

_MOST: Final = 2**31 - 1
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")


def _as_text(value: Any) -> Any:
    """librdkafka takes every setting as text; TOML and JSON have booleans and numbers too."""
    return str(value).lower() if isinstance(value, bool | int | float) else value


ClientValue = Annotated[SecretStr, BeforeValidator(_as_text)]


TopicValue = Annotated[str, BeforeValidator(_as_text)]

_OF_OURS: Final = {
    "cleanup.policy": "compaction takes changes out of the log",
    "message.timestamp.type": "a clock of ours that is wrong would have records deleted or refused",
    "retention.ms": "that is `retention_hours`",
    "retention.bytes": "it deletes records that nobody has applied yet",
    "max.message.bytes": "that is `record_megabytes`",
}
_REFUSED: Final = {
    "plugin.library.paths": "it loads code",
    "ssl.engine.location": "it loads code",
    "ssl.providers": "it loads code",
    "sasl.kerberos.kinit.cmd": "it runs a command",
    "debug": "it writes without a bound, secrets among it",
    "log.queue": "our log takes what librdkafka says",
    "enabled_events": "it is for programs",
    "opaque": "it is for programs",
    "logger": "it is for programs",
    "on_delivery": "it is for programs",
    "message.max.bytes": "that is `record_megabytes`, for producer, consumer and topic alike",
    "receive.message.max.bytes": "it follows `record_megabytes`",
    "group.id": "it is named after the connector",
    "transactional.id": "records are not in transactions",
}
"""Settings of librdkafka that a file may not have: all others are the user's."""


class Kafka(Section):
    """[kafka]: the log. Without this section the direct transport is used."""

    bootstrap_servers: str
    topic: str | None = None
    partitions: int = Field(default=8, ge=1, le=1024)
    replication_factor: int = Field(default=1, ge=1, le=1024)
    retention_hours: int = Field(default=168, ge=1, le=1_000_000)
    record_megabytes: int = Field(default=16, ge=1, le=1000)
    topic_settings: dict[str, TopicValue] = {}
    format: Literal["json", "avro"] = "json"
    schema_id: int = Field(default=1, ge=0, le=2**31 - 1)
    client: dict[str, ClientValue] = {}

    @field_validator("topic")
    @classmethod
    def _topic_name(cls, topic: str | None) -> str | None:
        if topic is not None and _TOPIC.fullmatch(topic) is None:
            raise ValueError("expected letters, digits, dots, underscores and hyphens, 249 at most")
        return topic

    @field_validator("topic_settings")
    @classmethod
    def _not_ours(cls, settings: dict[str, str]) -> dict[str, str]:
        for name in settings:
            if name in _OF_OURS:
                raise ValueError(f"{name} is not to be set here: {_OF_OURS[name]}")
        return settings

    @field_validator("client")
    @classmethod
    def _harmless(cls, client: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name in client:
            plain = name.strip().lower()
            if plain in _REFUSED or plain.endswith("_cb"):
                raise ValueError(f"{name} is refused: {_REFUSED.get(plain, 'it is for programs')}")
            if plain != name:
                raise ValueError(f"{name!r} is no setting of librdkafka: its names are lower-case")
        return client

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
    chunk_hours: float | None = Field(default=None, gt=0, le=1_000_000)
    attempts: int = Field(default=5, ge=1, le=_MOST)
    standby_dsn: Dsn | None = None

    @field_validator("standby_dsn", "chunk_hours", mode="before")
    @classmethod
    def _empty_is_none(cls, given: Any) -> Any:
        return None if given in (0, "0", "") else given


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
