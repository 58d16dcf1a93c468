"""A finding: one precondition that does not hold, and the exact thing that mends it."""

from __future__ import annotations

from typing import Any, NamedTuple

import psycopg
from psycopg import sql


class Finding(NamedTuple):
    """`what` is wrong, `where` (empty: the database that was looked at), and the SQL or setting that mends it."""

    what: str
    where: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}\n    mend it with: {self.remedy}"


def statement(
    session: psycopg.Connection[tuple[Any, ...]], template: str, *names: str | tuple[str, ...] | sql.Composable
) -> str:
    """An SQL statement to show: each `{}` a quoted identifier, or `schema.name` for a pair."""
    parts = [
        name if isinstance(name, sql.Composable) else sql.Identifier(*([name] if isinstance(name, str) else name))
        for name in names
    ]
    return sql.SQL(template).format(*parts).as_string(session)


def names(columns: tuple[str, ...] | list[str]) -> sql.Composed:
    """Columns as they stand between parentheses."""
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def first_line(error: BaseException) -> str:
    """An error's message without libpq's continuation lines."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
