"""What an empty cell is, for SQL: one that is NULL itself.

Of a composite value, `IS NULL` is true where each of its fields is NULL, as in `(,)`, and `IS NOT NULL` only where none
is: neither tells whether there is a value. COALESCE, count() and the planner's own tests go by the value itself.
"""

from __future__ import annotations

from psycopg import sql


def empty(value: sql.Composable) -> sql.Composed:
    """There is no value."""
    return sql.SQL("{} IS NOT DISTINCT FROM NULL").format(value)


def filled(value: sql.Composable) -> sql.Composed:
    """There is a value, whatever it is made of."""
    return sql.SQL("{} IS DISTINCT FROM NULL").format(value)


def text_of(value: sql.Composable) -> sql.Composed:
    """A value as its type's output function writes it; NULL stays NULL, of which concat() makes an empty text."""
    return sql.SQL("CASE WHEN {} THEN concat({}) END").format(filled(value), value)
