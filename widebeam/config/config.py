"""A connector's configuration, read once at the edge: the file, then the environment, which wins.

From here on only plain values travel: NarrowTable, Mapping and the settings of each part.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping as Dict
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

from widebeam.config.connector import Connector
from widebeam.config.contradictions import contradictions, unusable
from widebeam.config.mistakes import explain, secrets_in_file, strangers
from widebeam.config.options.file import NAME, Options

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
    mistakes += list(unusable(made, env)) or contradictions(made, env)
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


def _bad_name(file: Path) -> str:
    return (
        f"{file}: the file's name is the connector's name: lower-case letters, digits, _ and -, 47 at most, "
        "because slot, publication and topic are named after it"
    )
