"""A connector's configuration, read once at the edge: the file, then the environment, which wins.

From here on only plain values travel: NarrowTable, Mapping and the settings of each part.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping as Dict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsError,
    TomlConfigSettingsSource,
)

from cdc.narrow import NarrowTable
from sink.mapping import Mapping
from sink.rule import Rule
from widebeam.mistakes import explain, secrets_in_file, strangers
from widebeam.options import NAME, Options

LOGICAL_PARTITIONS: Final = 8
"""Partitions of the direct transport. Written down in widebeam.connectors when a connector is made."""


class ConfigError(Exception):
    """The configuration cannot be used; `mistakes` says all that is wrong with it, one line each."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Connector:
    """One pipeline as configured: its name (the file's), the file, and all options."""

    name: str
    file: Path
    options: Options

    @property
    def transport(self) -> str:
        """`kafka` or `direct`, as widebeam.connectors names them."""
        return "direct" if self.options.kafka is None else "kafka"

    @property
    def partitions(self) -> int:
        """How many partitions a new connector gets."""
        return LOGICAL_PARTITIONS if self.options.kafka is None else self.options.kafka.partitions

    @property
    def slot(self) -> str:
        """The replication slot's name."""
        return self.options.source.slot or f"widebeam_{self.name.replace('-', '_')}"

    @property
    def publication(self) -> str:
        """The publication's name."""
        return self.options.source.publication or f"widebeam_{self.name.replace('-', '_')}"

    @property
    def topic(self) -> str | None:
        """The Kafka topic; None on the direct transport."""
        kafka = self.options.kafka
        return None if kafka is None else kafka.topic or f"widebeam.{self.name}"

    @property
    def group(self) -> str:
        """The consumer group of the sinks."""
        return f"widebeam.{self.name}"

    def kafka_client(self) -> dict[str, str]:
        """librdkafka's settings with their secrets, for a client alone; empty on the direct transport."""
        kafka = self.options.kafka
        if kafka is None:
            return {}
        # Level 4: warnings. Without it librdkafka chats on stderr when a client is closed.
        return {"log_level": "4", "bootstrap.servers": kafka.bootstrap_servers, **kafka.client_settings()}

    @property
    def table(self) -> NarrowTable:
        """The narrow table as capture and sink see it."""
        source = self.options.source
        schema, _, name = source.table.partition(".")
        columns = source.value.columns
        values = dict.fromkeys(columns.values() if isinstance(columns, dict) else columns)
        extra = () if source.value.discriminator is None else (source.value.discriminator,)
        return NarrowTable(schema, name, tuple(source.entity), (source.time,), (source.key,), tuple(values), extra)

    def mapping(self, types: Dict[str, str]) -> Mapping:
        """The mapping, with the narrow columns' types as the source's catalog writes them."""
        target, sink = self.options.target, self.options.sink
        default = "{entity}" if target.layout == "per_entity" else "{connector}"
        return Mapping(
            connector=self.name,
            rules=(self._rule(types),),
            schema=target.wide_schema,
            name=(target.name or default).replace("{connector}", self.name),
            layout=target.layout,
            on_delete=sink.on_delete,
            on_truncate=sink.on_truncate,
            unknown_key=sink.unknown_key,
        )

    def _rule(self, types: Dict[str, str]) -> Rule:
        value = self.options.source.value
        choices = value.columns if isinstance(value.columns, dict) else None
        return Rule.of(self.table, types, discriminator=value.discriminator, choices=choices)


def load(connector: str, environment: Dict[str, str] | None = None) -> Connector:
    """Read the connector of that name or path; ConfigError says everything that is wrong at once."""
    env = os.environ if environment is None else environment
    file = find(connector, env)
    name = file.stem
    mistakes = [] if NAME.fullmatch(name) else [_bad_name(file)]
    raw = _parse(file)
    mistakes += [*secrets_in_file(raw, file), *strangers(env)]
    try:
        options = _validate(raw, env)
    except ValidationError as error:
        raise ConfigError(mistakes + [explain(one, file, env) for one in error.errors(include_url=False)]) from None
    except SettingsError as error:
        raise ConfigError([*mistakes, f"environment: {error}: lists and tables are written as JSON there"]) from None
    made = Connector(name, file, options)
    mistakes += _contradictions(made)
    if mistakes:
        raise ConfigError(mistakes)
    return made


def find(connector: str, environment: Dict[str, str]) -> Path:
    """The file of a connector: a path as it is, a name in WIDEBEAM_CONNECTORS or ./connectors."""
    if connector.endswith(".toml") or "/" in connector:
        file = Path(connector)
        folder = file.parent
    else:
        folder = Path(environment.get("WIDEBEAM_CONNECTORS") or "connectors")
        file = folder / f"{connector}.toml"
    if not file.is_file():
        others = ", ".join(sorted(path.stem for path in folder.glob("*.toml"))) or "none"
        raise ConfigError([f"no connector {connector!r}: {file} does not exist (connectors in {folder}: {others})"])
    return file


def _parse(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{file}: not a TOML file: {error}"]) from None
    except OSError as error:
        raise ConfigError([f"{file}: {error.strerror}"]) from None


def _validate(raw: dict[str, Any], environment: Dict[str, str]) -> Options:
    """The environment over the file. The class is made here because pydantic-settings binds its sources to one."""

    class FromFile(Options):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            *_: PydanticBaseSettingsSource,
            **__: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return _Environment(settings_cls, environment), _File(settings_cls, raw)

    return FromFile()  # type: ignore[call-arg]


class _Environment(EnvSettingsSource):
    """The environment that was given, rather than the process's own."""

    def __init__(self, settings_cls: type[BaseSettings], environment: Dict[str, str]) -> None:
        self._given = {name.lower(): value for name, value in environment.items()}
        super().__init__(settings_cls, case_sensitive=False)

    def _load_env_vars(self) -> Dict[str, str | None]:
        return self._given


class _File(TomlConfigSettingsSource):
    """The file that has been read already."""

    def __init__(self, settings_cls: type[BaseSettings], raw: dict[str, Any]) -> None:
        self._raw = raw
        super().__init__(settings_cls, None)

    def __call__(self) -> dict[str, Any]:
        return self._raw


def _contradictions(made: Connector) -> list[str]:
    """What only shows when all options are seen together."""
    table = made.table
    names = [*table.wide, *table.key, *table.extra, *table.values]
    twice = sorted({name for name in names if names.count(name) > 1})
    missing = [
        f"{made.file}, section [{section}]: `password_file`: {path} cannot be read"
        for section, path in (
            ("source", made.options.source.password_file),
            ("target", made.options.target.password_file),
        )
        if path is not None and not os.access(path, os.R_OK)
    ]
    return missing + [
        f"{made.file}, section [source]: the column `{name}` is used for two things (entity, time, key, value)"
        for name in twice
    ]


def _bad_name(file: Path) -> str:
    return (
        f"{file}: the file's name is the connector's name: lower-case letters, digits, _ and -, 47 at most, "
        "because slot, publication and topic are named after it"
    )
