"""A table's name: a schema and a name, and the one text that stands for both, wherever there is room for one. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

_PLAIN: Final = re.compile(r"[a-z_][a-z0-9_]*")
_QUOTED: Final = re.compile(r'"((?:[^"]|"")*)"')
# PostgreSQL's reserved words, which no schema is called without quotes. Behind a dot they need none.
_RESERVED: Final = re.compile(
    "all|analyse|analyze|and|any|array|as|asc|asymmetric|authorization|binary|both|case|cast|check|collate|"
    "collation|column|concurrently|constraint|create|cross|current_catalog|current_date|current_role|"
    "current_schema|current_time|current_timestamp|current_user|default|deferrable|desc|distinct|do|else|end|"
    "except|false|fetch|for|foreign|freeze|from|full|grant|group|having|ilike|in|initially|inner|intersect|"
    "into|is|isnull|join|lateral|leading|left|like|limit|localtime|localtimestamp|natural|not|notnull|null|"
    "offset|on|only|or|order|outer|overlaps|placing|primary|references|returning|right|select|session_user|"
    "similar|some|symmetric|system_user|table|tablesample|then|to|trailing|true|union|unique|user|using|"
    "variadic|verbose|when|where|window|with"
)


class TableName(NamedTuple):
    """The two parts as the catalog has them, in the order in which `sql.Identifier(*name)` wants them."""

    schema: str
    name: str

    @classmethod
    def of(cls, text: str) -> TableName:
        """The name that `text` stands for; ValueError where it stands for none."""
        schema, rest = _part(text, last=False)
        name, end = _part(rest[1:], last=True)
        if not (schema and name and rest.startswith(".")) or end:
            raise ValueError(f'expected "schema.table", not {text!r}')
        return cls(schema, name)

    @property
    def text(self) -> str:
        """`schema.name`, which no other table has: a schema with a dot in it, and what begins with a quote, is quoted.

        Records, the control tables, messages and a connector's file name a table so. (sources.name in sink/control.sql
        is the same, in SQL.)
        """
        return _text(self.schema, self.name)

    @property
    def quoted(self) -> str:
        """For a statement that a person is to run: quoted where PostgreSQL would read it otherwise."""
        bare = _PLAIN.fullmatch(self.schema) is not None and _RESERVED.fullmatch(self.schema) is None
        return f"{_marked(self.schema, not bare)}.{_marked(self.name, _PLAIN.fullmatch(self.name) is None)}"

    def __str__(self) -> str:
        return self.text


@lru_cache(maxsize=10_000)  # records say it, each of them
def _text(schema: str, name: str) -> str:
    return f"{_marked(schema, '.' in schema)}.{_marked(name, False)}"


def _marked(part: str, needed: bool) -> str:
    return '"' + part.replace('"', '""') + '"' if needed or part.startswith('"') else part


def _part(text: str, *, last: bool) -> tuple[str, str]:
    """A part at the beginning of `text`, and the rest: quoted, or up to the first dot (the last one: all)."""
    quoted = _QUOTED.match(text)
    if quoted is not None:
        return quoted[1].replace('""', '"'), text[quoted.end() :]
    if text.startswith('"'):
        return "", text
    part, dot, rest = (text, "", "") if last else text.partition(".")
    return part, dot + rest
