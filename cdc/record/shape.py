"""Is this parsed object a change record? Field by field, for both codecs: the answer is a record or `Undecodable`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from types import NoneType
from typing import Any, Final

from cdc.event import UNCHANGED
from cdc.lsn import Lsn
from cdc.record.columnar import Columnar
from cdc.record.record import Barrier, Changes, Op, Stamp, Truncated

OPS: Final = frozenset(op.value for op in Op)
"""The ops that a row of a record can have."""
_VALUE_TYPES: Final = frozenset((str, NoneType, bool))
_HEAD: Final = frozenset(("v", "connector", "generation", "sequence", "lsn", "xid", "at"))
_CHANGES: Final = _HEAD | {"table", "wide", "columns"}


class Undecodable(Exception):
    """These bytes are not a change record of ours; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"not a change record: {reason}")
        self.reason = reason


def stamp(fields: dict[str, Any]) -> Stamp:
    """Where the record stands."""
    if fields.get("v") != 1:
        raise Undecodable(f"format version {str(fields.get('v'))[:20]}, and only 1 is known")
    return Stamp(
        text(fields, "connector"),
        _number(fields, "generation", 0, 1 << 63),
        _number(fields, "sequence", 0, 1 << 63),
        _lsn(text(fields, "lsn")),
        _number(fields, "xid", 0, 1 << 32),
        _number(fields, "at", -(1 << 63), 1 << 63),
    )


def changes(head: Stamp, fields: dict[str, Any], *, suspect_nul: bool) -> Changes:
    """The changes of a wide key. Rows are checked all together, in C, since they are checked for every record."""
    form = "inserts" if "inserts" in fields else "rows"
    _only(fields, _CHANGES | {form})
    wide: Any = fields.get("wide")
    columns: Any = fields.get("columns")
    rows: Any = fields[form]
    if not isinstance(wide, dict) or not all(isinstance(v, str | None) for v in wide.values()):
        raise Undecodable("`wide` is not an object of texts and nulls")
    if not _texts(columns) or len(set(columns)) != len(columns):
        raise Undecodable("`columns` is not a list of names")
    if form == "inserts":
        rows = _inserts(rows, len(columns))
    else:
        _check_rows(rows, len(columns) + 1)
    if suspect_nul and any("\0" in v for v in chain(wide.values(), chain.from_iterable(rows)) if isinstance(v, str)):
        raise Undecodable("a NUL in a value")
    return Changes(head, text(fields, "table"), wide, columns, rows)


def by_columns(inserts: Sequence[Sequence[str | None] | None], width: int) -> Columnar | None:
    """The rows of which these are the columns, None for a column of NULLs alone; None if they are not `width` columns
    of the same length. (With NULLs alone nobody can say how many rows there are.)"""
    [count, *more] = {len(column) for column in inserts if column is not None} or {0}
    if more or not count or len(inserts) != width:
        return None
    nulls = [None] * count
    return Columnar([nulls if column is None else column for column in inserts])


def truncated(head: Stamp, fields: dict[str, Any]) -> Truncated:
    """Tables that were truncated."""
    _only(fields, _HEAD | {"truncate"})
    if not _texts(fields["truncate"]):
        raise Undecodable("`truncate` is not a list of tables")
    return Truncated(head, fields["truncate"])


def barrier(head: Stamp, fields: dict[str, Any]) -> Barrier:
    """A message of ours."""
    _only(fields, _HEAD | {"barrier"})
    return Barrier(head, text(fields, "barrier"))


def text(fields: dict[str, Any], name: str) -> str:
    """A field that is a text."""
    value = fields.get(name)
    if not isinstance(value, str):
        raise Undecodable(f"`{name}` is not a text")
    return value


def _check_rows(rows: Any, width: int) -> None:
    """Rows of an op and one value a column; `false` in them becomes UNCHANGED."""
    if not isinstance(rows, list) or not rows or set(map(type, rows)) != {list}:
        raise Undecodable("`rows` is not a list of lists")
    if set(map(len, rows)) != {width}:
        raise Undecodable(f"a row has not {width} values: an op and one for each of `columns`")
    types = set(map(type, chain.from_iterable(rows)))
    if not types <= _VALUE_TYPES:
        raise Undecodable("a value in `rows` is neither text nor null nor false")
    if bool in types:
        _restore_unchanged(rows)
    ops = set(map(itemgetter(0), rows))
    if not ops <= OPS:
        raise Undecodable("an op in `rows` is none of i, u, d, m")


def _inserts(inserts: Any, width: int) -> Columnar:
    """The rows of which these are the columns."""
    if not isinstance(inserts, list) or not all(isinstance(column, list | None) for column in inserts):
        raise Undecodable("`inserts` is not a list of lists and nulls")
    if not {type(value) for column in inserts if column is not None for value in column} <= {str, NoneType}:
        raise Undecodable("a value in `inserts` is neither text nor null")
    rows = by_columns(inserts, width)
    if rows is None:
        raise Undecodable("`inserts` is not a list of values, all of the same length, for each of `columns`")
    return rows


def _restore_unchanged(rows: list[list[Any]]) -> None:
    for row in rows:
        for index, value in enumerate(row):
            if value is False:
                row[index] = UNCHANGED
            elif value is True:
                raise Undecodable("a value in `rows` is true")


def _only(fields: dict[str, Any], allowed: frozenset[str]) -> None:
    unknown = fields.keys() - allowed
    if unknown:
        raise Undecodable(f"unknown fields {', '.join(sorted(map(repr, unknown)))[:100]}")


def _texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)


def _number(fields: dict[str, Any], name: str, low: int, high: int) -> int:
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value < high:
        raise Undecodable(f"`{name}` is not a whole number from {low} to {high - 1}")
    return value


def _lsn(value: str) -> Lsn:
    try:
        return Lsn.parse(value)
    except ValueError as error:
        raise Undecodable(f"`lsn` is {error}"[:100]) from None
