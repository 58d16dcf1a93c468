"""A connector's configuration, read once at the edge: the file, then the environment, which wins.

From here on only plain values travel: NarrowTable, Mapping and the settings of each part.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Dict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsError,
    TomlConfigSettingsSource,
)

from cdc.narrow import NarrowTable
from sink.family import Source, joining, rules
from sink.group import Group
from sink.layout import folded
from sink.mapping import Mapping
from widebeam import language
from widebeam.mistakes import explain, secrets_in_file, strangers, where
from widebeam.options import NAME, Options

LOGICAL_PARTITIONS: Final = 8
"""Partitions of the direct transport. Written down in widebeam.connectors when a connector is made."""

MOST_BYTES: Final = 1 << 20
"""Of a connector's file: a longer one is somebody else's."""

_DEEP: Final = re.compile(r"""(?:\.[ \t]*+(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+){100}""")
"""A name of a hundred parts: a minute's work for tomllib if there are fifty thousand."""

MOST_MISTAKES: Final = 50
"""So many mistakes are explained at once."""


class ConfigError(Exception):
    """The configuration cannot be used; `mistakes` says all that is wrong with it, one line each."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Connector:
    """One pipeline as configured: its name (the file's), the file, and all options.

    `only` is one of its narrow tables, to look at as if there were no other.
    """

    name: str
    file: Path
    options: Options
    only: NarrowTable | None = None

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
    def patterns(self) -> tuple[str, ...]:
        """The narrow tables as they are configured, `schema.name`, where % stands for any text in the name."""
        source = self.options.source
        return tuple(source.tables) if source.table is None else (source.table,)

    @property
    def growing(self) -> bool:
        """Whether tables can join while it runs."""
        return self.options.source.table is None and any("%" in each for each in self.patterns)

    @property
    def layout(self) -> Literal["per_entity", "single"]:
        """One wide table for each entity, or a single one: without entity or without time there can only be that."""
        source, target = self.options.source, self.options.target
        return target.layout if source.entity and source.time else "single"

    @property
    def table(self) -> NarrowTable:
        """The narrow table as capture and sink see it: where there are several, the first, or the one it is `at`."""
        if self.only is not None:
            return self.only
        schema, _, name = self.patterns[0].partition(".")
        return language.narrow(self.options.source, schema, name)

    def at(self, table: NarrowTable) -> Connector:
        """The same connector, as if this were its only narrow table: to look at one after the other."""
        return replace(self, only=table)

    @property
    def family(self) -> language.Tables:
        """Which narrow tables belong, and how they are read."""
        return language.Tables(self.options.source)

    def mapping(self, sources: Iterable[Source]) -> Mapping:
        """The mapping of narrow tables, with their columns' types as the source's catalog writes them."""
        target, sink, tables = self.options.target, self.options.sink, list(sources)
        return Mapping(
            connector=self.name,
            rules=rules(self.family, tables),
            schema=target.wide_schema,
            name=self.wide_name,
            layout=self.layout,
            family=self.family if self.growing else None,
            joining=joining(tables),
            on_delete=sink.on_delete,
            on_truncate=sink.on_truncate,
            unknown_key=sink.unknown_key,
            type_conflict=sink.type_conflict,
            columns_per_table=sink.columns_per_table,
            columns_per_hour=sink.columns_per_hour,
            readers=tuple(target.readers),
            groups=tuple(
                Group(each.name, frozenset(each.keys), None if each.pattern is None else re.compile(each.pattern))
                for each in target.groups
            ),
            partition_by=target.partition_by,
        )

    @property
    def wide_name(self) -> str:
        """The wide tables' name, where `{entity}` stands for the entity's values."""
        default = "{entity}" if self.layout == "per_entity" else "{connector}"
        return (self.options.target.name or default).replace("{connector}", self.name)


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
        raise ConfigError([*mistakes, *_explained(error, file, env)]) from None
    except (SettingsError, RecursionError) as error:
        raise ConfigError([*mistakes, f"environment: {error}: lists and tables are written as JSON there"]) from None
    made = Connector(name, file, options)
    mistakes += list(_unusable(made, env)) or _contradictions(made, env)
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
        if file.stat().st_size > MOST_BYTES:
            raise ConfigError([f"{file}: more than {MOST_BYTES} bytes: it is no connector's file"])
        text = file.read_text(encoding="utf-8")
        if _DEEP.search(text):
            raise RecursionError
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError([f"{file}: not a TOML file of ours: it is nested too deeply"]) from None
    except ValueError as error:  # not UTF-8, not TOML, or a number of thousands of digits
        raise ConfigError([f"{file}: not a TOML file: {error}"]) from None
    except OSError as error:
        raise ConfigError([f"{file}: {error.strerror}"]) from None


def _explained(error: ValidationError, file: Path, environment: Dict[str, str]) -> list[str]:
    """What the options are not; each mistake costs a search for what was meant, so there is an end to them."""
    errors = error.errors(include_url=False)
    said = [explain(one, file, environment) for one in errors[:MOST_MISTAKES]]
    return said if len(errors) <= MOST_MISTAKES else [*said, f"{file}: {len(errors) - MOST_MISTAKES} mistakes more"]


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


def _contradictions(made: Connector, environment: Dict[str, str]) -> list[str]:
    """What only shows when all options are seen together."""
    table, source = made.table, made.options.source
    names = [*table.wide, *table.key, *table.values]
    shown = [*made.family.rule(table, {}).entity, *table.time]  # the wide tables' key columns, virtual ones too
    twice = sorted({name for some in (names, shown) for name in some if some.count(name) > 1})
    missing = [
        f"{made.file}, section [{section}]: `password_file`: {path} {wrong}"
        for section, path in (
            ("source", source.password_file),
            ("target", made.options.target.password_file),
        )
        if path is not None and (wrong := _wrong_with(path)) is not None
    ]
    if "layout" in made.options.target.model_fields_set and made.options.target.layout != made.layout:
        missing.append(
            f'{made.file}, section [target]: `layout` = "per_entity" needs both an entity and a time: leave it out'
        )
    if len(made.patterns) + made.growing > 1 and made.options.sink.on_truncate == "apply":
        missing.append(
            f'{made.file}, section [sink]: `on_truncate` = "apply" with several narrow tables: '
            "the wide rows of one cannot be told from those of another"
        )
    if made.options.target.partition_by is not None and not source.time:
        missing.append(
            f"{made.file}, section [target]: `partition_by` needs a time, and `time` in [source] is empty: leave it out"
        )
    missing += _groups_of_one_name(made, environment)
    return missing + [
        f"{made.file}, section [source]: the column `{name}` is used for two things (entity, time, key, value)"
        for name in twice
    ]


def _wrong_with(password_file: Path) -> str | None:
    """Why it is no file with a password in it; None if it is one."""
    try:
        if not password_file.is_file() or not os.access(password_file, os.R_OK):
            return "cannot be read"
        if password_file.stat().st_size > 4096 or "\0" in password_file.read_text(encoding="utf-8"):
            return "holds no password: it is too long, or has a NUL in it"
    except UnicodeDecodeError:
        return "is not UTF-8"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None


def _unusable(made: Connector, environment: Dict[str, str]) -> Iterator[str]:
    """Texts that neither PostgreSQL nor the system takes: with a NUL, or with half a character (from JSON, from an
    environment that is not UTF-8)."""
    pending: list[tuple[tuple[str, ...], Any]] = [((), made.options.model_dump(by_alias=True))]
    while pending:
        path, value = pending.pop()
        match value:
            case dict():
                pending += [((*path, str(name)), (name, inner)) for name, inner in value.items()]
            case list() | tuple():
                pending += [(path, inner) for inner in value]
            case str() | Path() | SecretStr():
                text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
                if "\0" in text or (not text.isascii() and text != text.encode(errors="ignore").decode()):
                    option = "" if not path else f"`{path[-1]}`".encode(errors="replace").decode() + ": "
                    yield f"{where(path, made.file, environment)}: {option}a NUL or half a character in a text"


def _groups_of_one_name(made: Connector, environment: Dict[str, str]) -> Iterator[str]:
    """Names that a reader would take for the same."""
    seen = dict[str, str]()
    for number, group in enumerate(made.options.target.groups):
        if folded(group.name) in seen:
            place = where(("target", "groups", str(number), "name"), made.file, environment)
            yield f"{place}: `name`: there is a group {seen[folded(group.name)]!r} already: name one of them otherwise"
        seen.setdefault(folded(group.name), group.name)


def _bad_name(file: Path) -> str:
    return (
        f"{file}: the file's name is the connector's name: lower-case letters, digits, _ and -, 47 at most, "
        "because slot, publication and topic are named after it"
    )
