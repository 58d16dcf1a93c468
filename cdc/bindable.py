"""Parameters beside names: where a statement has parameters, only what was written in the program is read for their
places.

psycopg takes each % of a statement with parameters for one, in the middle of a quoted name, too: for `tank 50%` it
raises, and for `50%s` it puts a value into the name. Every connection of ours has this cursor, so that nobody has to
think of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.abc import AdaptContext, Params, Query

Row_co = TypeVar("Row_co", covariant=True)


class Verbatim(sql.Composable):
    """SQL that comes from elsewhere: a type as format_type prints it, a query of a connector's file."""

    def __init__(self, text: str) -> None:
        super().__init__(text)

    def as_bytes(self, context: AdaptContext | None = None) -> bytes:
        """The text as it is."""
        return str(self._obj).encode()


class Cursor(psycopg.Cursor[Row_co]):
    """psycopg's own, whose statements with parameters may hold any names."""

    def execute(self, query: Query, params: Params | None = None, **kwargs: Any) -> Cursor[Row_co]:
        """As psycopg's."""
        ready: Any = query if params is None else bindable(self, query)
        super().execute(ready, params, **kwargs)
        return self

    def executemany(self, query: Query, params_seq: Iterable[Params], **kwargs: Any) -> None:
        """As psycopg's."""
        super().executemany(bindable(self, query), params_seq, **kwargs)

    def stream(self, query: Query, params: Params | None = None, **kwargs: Any) -> Iterator[Row_co]:
        """As psycopg's."""
        return super().stream(query if params is None else bindable(self, query), params, **kwargs)

    @contextmanager
    def copy(self, statement: Query, params: Params | None = None, **kwargs: Any) -> Iterator[psycopg.Copy]:
        """As psycopg's."""
        ready = statement if params is None else bindable(self, statement)
        with super().copy(ready, params, **kwargs) as copy:
            yield copy


def bindable(context: AdaptContext, query: Query) -> Any:  # a Query, whatever the method wants of one
    """The statement with each % doubled that is not the program's own."""
    return b"".join(_parts(context, query)) if isinstance(query, sql.Composable) else query


def _parts(context: AdaptContext, part: sql.Composable) -> Iterator[bytes]:
    if isinstance(part, sql.Composed):
        for each in part:
            yield from _parts(context, each)
    elif isinstance(part, sql.SQL | sql.Placeholder):
        yield part.as_bytes(context)
    else:
        yield part.as_bytes(context).replace(b"%", b"%%")
