"""[target]: where the wide tables go, and how they are laid out."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Final, Literal

from pydantic import Field, field_validator, model_validator

from sink.mapping.period import Unit
from widebeam.config.options.section import Section
from widebeam.config.options.server import Server
from widebeam.config.pattern import checked

_GROUP: Final = re.compile(r"[^\W\d_][\w-]{0,29}")


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

    side: ClassVar[str] = "target"

    wide_schema: str = Field(default="wide", alias="schema")
    layout: Literal["per_entity", "single"] = "per_entity"
    name: str | None = None
    groups: list[Group] = []
    readers: list[str] = []
    partition_by: Unit | None = None
    fillfactor: int | None = Field(default=None, ge=10, le=100)

    @field_validator("partition_by", "fillfactor", mode="before")
    @classmethod
    def _empty_is_none(cls, given: Any) -> Any:
        return None if given in (0, "0", "") else given

    @model_validator(mode="after")
    def _distinct(self) -> Target:
        if self.layout == "per_entity" and self.name is not None and "{entity}" not in self.name:
            raise ValueError('`name` has to contain {entity} with layout = "per_entity"')
        if self.layout == "single" and self.name is not None and "{entity}" in self.name:
            raise ValueError('`name` cannot contain {entity} with layout = "single": one table holds all entities')
        if self.wide_schema == "widebeam":
            raise ValueError("`schema` cannot be widebeam: that one holds Widebeam's own state")
        return self
