"""A connector file: settings with the reason for each, as TOML. Pure."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

Value: TypeAlias = "str | int | float | bool | Sequence[str] | Mapping[str, str] | Mapping[str, Sequence[str]]"

ASK: Final = "ASK:"
"""What marks a choice that the schema leaves open, so that its reader can search for it."""

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_WIDTH: Final = 118


@dataclass(frozen=True, slots=True)
class Setting:
    """One option: its value, why it is so, and what to ask oneself where there is a choice.

    `shown` only: a line that is commented out, for what could be said instead.
    """

    name: str
    value: Value
    why: str = ""
    ask: str = ""
    shown: bool = False


@dataclass(slots=True)
class Section:
    """A section of the file, in the order in which its settings were added."""

    name: str
    settings: list[Setting] = field(default_factory=list)

    def set(self, name: str, value: Value, why: str = "", ask: str = "") -> None:
        """Add an option."""
        self.settings.append(Setting(name, value, why, ask))

    def show(self, name: str, value: Value, why: str = "", ask: str = "") -> None:
        """Add an option that is commented out."""
        self.settings.append(Setting(name, value, why, ask, shown=True))


def document(head: Sequence[str], sections: Sequence[Section]) -> str:
    """The whole file."""
    lines = [line for paragraph in head for line in _comment(paragraph)]
    for section in sections:
        if section.settings:
            real = any(not setting.shown for setting in section.settings)
            lines += ["", f"{'' if real else '# '}[{section.name}]"]
            lines += [line for setting in section.settings for line in _setting(setting)]
    return "\n".join(lines) + "\n"


def _setting(setting: Setting) -> list[str]:
    comments = _comment(setting.why) + _comment(f"{ASK} {setting.ask}" if setting.ask else "")
    mark = "# " if setting.shown else ""
    return [*comments, f"{mark}{setting.name} = {literal(setting.value)}"]


def _comment(text: str) -> list[str]:
    """A comment, wrapped. What came out of the database may hold anything: no character of it ends the comment."""
    clean = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", "?", text)
    lines = textwrap.wrap(clean, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return [f"# {line}" for line in lines]


def literal(value: Value) -> str:
    """A value as TOML."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _text(value)
        case Mapping():
            inner = ", ".join(f"{_key(key)} = {literal(each)}" for key, each in value.items())
            return f"{{ {inner} }}" if inner else "{}"
        case _:
            return f"[{', '.join(map(literal, value))}]"


def _text(value: str) -> str:
    """In double quotes; between single ones, where nothing is escaped, if it has double quotes or backslashes."""
    plain = all(character.isprintable() for character in value)
    if plain and "'" not in value and ('"' in value or "\\" in value):
        return f"'{value}'"
    return json.dumps(value, ensure_ascii=not plain)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)
