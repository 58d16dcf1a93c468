"""Folded wide rows, and their spreading over the part tables as lines of COPY. Pure."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sized
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from operator import attrgetter, itemgetter
from typing import Final, NamedTuple, TypeAlias

from cdc.lsn import Lsn
from sink.fold.copytext import NULL, escaped
from sink.mapping.wide import OVERFLOW, Column, Entity, Part

WideKey: TypeAlias = "tuple[str, ...]"
"""The values of a wide table's key columns: the time, and before it the entity where one table holds all."""

Shape: TypeAlias = "tuple[int, ...]"
"""The ordinals that a row sets, in the row's own order."""

Moments: TypeAlias = "dict[tuple[str, WideKey], set[tuple[str, str]]]"
"""Entity identity, wide key -> tables of the rows that were folded there, and where they lie on the chunks' axis."""


_NULLS_FOR_A_COPY: Final = 5_000


class WideRow:
    """What happened to one wide row: its last position, and for each ordinal COPY text, or None where it is cleared.

    `bare` holds keys that were cleared and have no column (they matter to chunks that are not merged yet, and to the
    overflow); `over` holds texts that go into the overflow, by key. `clears` tells that there may be a None.
    """

    __slots__ = ("bare", "cells", "clears", "over", "position")

    def __init__(self, position: Lsn) -> None:
        self.position = position
        self.cells: dict[int, str | None] = {}
        self.clears = False
        self.bare: set[str] | None = None
        self.over: dict[str, str] | None = None

    def put_over(self, key: str, value: str) -> None:
        """Set a cell whose key has no column of its own."""
        if self.over is None:
            self.over = {}
        self.over[key] = value
        if self.bare is not None:
            self.bare.discard(key)

    def clear_bare(self, key: str) -> None:
        """Clear a cell whose key has no column of its own."""
        if self.bare is None:
            self.bare = set()
        self.bare.add(key)
        if self.over is not None:
            self.over.pop(key, None)

    def drop_clears(self) -> None:
        """Forget which cells are cleared: for who only fills, they are not there."""
        for ordinal in [ordinal for ordinal, value in self.cells.items() if value is None]:
            del self.cells[ordinal]
        self.clears, self.bare = False, None

    def __repr__(self) -> str:
        return f"WideRow({self.position}, {self.cells}, bare={self.bare})"


class Lines(NamedTuple):
    """COPY lines of the key columns, `_lsn` and `columns`.

    Where a row does not set one of them, there is a NULL, which means nothing else: a value that is set is never NULL.
    """

    columns: list[Column]
    lines: list[str]


@dataclass(slots=True)
class PartRows:
    """What one part table gets.

    `columns` are all that it has, `copies` the rows, those together that set about the same columns, which stand by
    their types: so tables whose columns are alike but for their order can share a COPY.
    `clear_lines` are COPY lines of the key columns, `_lsn` and a bit for each of the columns `clears`: 1 where it is
    to be cleared. `over_lines` are COPY lines for the overflow `over`: the key columns, `_lsn`, an object of what is
    set and an array of keys that go.
    """

    part: Part
    copies: list[Lines] = field(default_factory=list)
    clears: list[Column] = field(default_factory=list)
    clear_lines: list[str] = field(default_factory=list)
    over: Column | None = None
    over_lines: list[str] = field(default_factory=list)
    columns: list[Column] = field(default_factory=list)


def spread(entity: Entity, rows: Mapping[WideKey, WideRow]) -> list[PartRows]:
    """Spread the rows over the entity's part tables, in the order of their numbers."""
    by_shape: defaultdict[Shape, list[tuple[str, list[str]]]] = defaultdict(list)
    cleared: list[tuple[str, frozenset[int]]] = []
    for key, row in rows.items():
        if row.cells:
            head = f"{_head(key)}\t{row.position}"
            sets = row.cells if not row.clears else _without_clears(head, row.cells, cleared)
            if sets:
                by_shape[tuple(sets)].append((head, list(sets.values())))  # type: ignore[arg-type]
    made = {number: PartRows(part, columns=entity.of_part(number)) for number, part in sorted(entity.parts.items())}
    for number, part_rows in made.items():
        _set(part_rows, [c for c in _columns(entity, by_shape) if c.part == number], by_shape)
        _clear(part_rows, [c for c in _columns(entity, (o for _, o in cleared)) if c.part == number], cleared)
    if entity.overflow is not None:
        _put_over(made[entity.overflow.part], entity.overflow, rows)
    return [each for each in made.values() if each.copies or each.clear_lines or each.over_lines]


def spread_all(entities: Mapping[str, Entity], tables: Mapping[str, Mapping[WideKey, WideRow]]) -> list[PartRows]:
    """Spread the rows of many entities, by their identities, in the order in which part tables are locked."""
    parts = [rows for name, folded in tables.items() if name in entities for rows in spread(entities[name], folded)]
    return sorted(parts, key=lambda rows: rows.part.table)


def whole(entities: Mapping[str, Entity], names: Iterable[str], *, clears: bool) -> list[PartRows]:
    """Every part table of these entities, with all of its columns, to be staged and with `clears` to be cleared, too;
    no rows."""
    return [
        PartRows(
            part,
            clears=each.of_part(number) if clears else [],
            over=next((column for column in each.of_part(number) if column.key == OVERFLOW), None),
            columns=each.of_part(number),
        )
        for each in (entities[name] for name in names if name in entities)
        for number, part in each.parts.items()
    ]


by_type: Final = attrgetter("type", "ordinal")
"""The order in which the columns of a line stand."""


def _put_over(part_rows: PartRows, over: Column, rows: Mapping[WideKey, WideRow]) -> None:
    """Write the lines for keys without a column of their own."""
    for key, row in rows.items():
        if row.over or row.bare:
            fields = [_json(row.over) if row.over else NULL, _json(sorted(row.bare)) if row.bare else NULL]
            part_rows.over_lines.append("\t".join([_head(key), str(row.position), *fields]) + "\n")
    part_rows.over = over


def _json(value: object) -> str:
    return escaped(json.dumps(value, ensure_ascii=False))


def _head(key: WideKey) -> str:
    return escaped(key[0]) if len(key) == 1 else "\t".join(map(escaped, key))


def _without_clears(
    head: str, cells: dict[int, str | None], cleared: list[tuple[str, frozenset[int]]]
) -> dict[int, str | None]:
    """The cells that are set; those that are cleared are noted."""
    clears = frozenset(ordinal for ordinal, value in cells.items() if value is None)
    if not clears:
        return cells
    cleared.append((head, clears))
    return {ordinal: value for ordinal, value in cells.items() if value is not None}


def _columns(entity: Entity, shapes: Iterable[Iterable[int]]) -> list[Column]:
    """All columns of these shapes, in the order of their ordinals."""
    return [entity.ordinals[ordinal] for ordinal in sorted(set().union(*shapes))]


def _set(rows: PartRows, sets: list[Column], by_shape: Mapping[Shape, list[tuple[str, list[str]]]]) -> None:
    """Write the lines that set these columns of one part."""
    columns = {column.ordinal: column for column in sorted(sets, key=by_type)}
    for shapes in _grouped(columns.keys(), by_shape):
        wanted = set().union(*shapes)
        union = [ordinal for ordinal in columns if ordinal in wanted]
        lines: list[str] = []
        for shape in shapes:
            line = _line(shape, union, frozenset(union).intersection(shape))
            lines += [line(head, values) for head, values in by_shape[shape]]
        rows.copies.append(Lines([columns[ordinal] for ordinal in union], lines))


def _grouped(ordinals: AbstractSet[int], by_shape: Mapping[Shape, Sized]) -> list[list[Shape]]:
    """The shapes that set some of these, in groups that are copied together.

    A group has at most as many NULLs as values, and then as many as cost no more than another COPY. (One cell in each
    row, all together: rows times columns of NULLs. Each shape on its own: hundreds of statements.)
    """
    groups: list[list[Shape]] = []
    union: set[int] = set()
    rows = cells = 0
    for shape in sorted(by_shape):
        here = set(shape).intersection(ordinals)
        if not here:
            continue
        more = len(by_shape[shape])
        if groups and (rows + more) * len(union | here) <= 2 * (cells + more * len(here)) + _NULLS_FOR_A_COPY:
            groups[-1].append(shape)
            union |= here
        else:
            groups.append([shape])
            union, rows, cells = here, 0, 0
        rows, cells = rows + more, cells + more * len(here)
    return groups


def _line(shape: Shape, union: list[int], here: frozenset[int]) -> Callable[[str, list[str]], str]:
    """How a row of this shape is written as a line that has all the columns of `union`."""
    if list(shape) == union:
        return lambda head, values: head + "\t" + "\t".join(values) + "\n"
    place = {ordinal: n for n, ordinal in enumerate(shape)}
    order = [place[ordinal] for ordinal in union if ordinal in here]
    pick = itemgetter(*order) if len(order) > 1 else None
    if len(here) == len(union) and pick is not None:
        return lambda head, values: head + "\t" + "\t".join(pick(values)) + "\n"
    # A row that sets few of many columns: the NULLs between are written once for all rows of this shape.
    template = "%s\t" + "\t".join("%s" if ordinal in here else NULL for ordinal in union) + "\n"
    if pick is None:
        only = order[0]
        return lambda head, values: template % (head, values[only])
    return lambda head, values: template % (head, *pick(values))


def _clear(rows: PartRows, clears: list[Column], cleared: list[tuple[str, frozenset[int]]]) -> None:
    """Write the lines that clear these columns of one part."""
    rows.clears = clears
    wanted = frozenset(column.ordinal for column in clears)
    for head, ordinals in cleared:
        if not wanted.isdisjoint(ordinals):
            bits = "".join("1" if column.ordinal in ordinals else "0" for column in clears)
            rows.clear_lines.append(f"{head}\t{bits}\n")
