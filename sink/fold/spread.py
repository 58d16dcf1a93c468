"""Folded wide rows, spread over the part tables of their entities as lines of COPY. Pure."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from collections.abc import Set as AbstractSet
from operator import itemgetter
from typing import Final

from sink.fold.copytext import NULL, escaped
from sink.fold.rows import Lines, PartRows, Shape, WideKey, WideRow, by_type
from sink.mapping.names import BARE
from sink.mapping.wide import OVERFLOW, Column, Entity

_NULLS_FOR_A_COPY: Final = 5_000


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
    bases = entity.bases()
    made = _empty(entity, bases)
    for number, part_rows in made.items():
        _set(part_rows, [c for c in _columns(entity, by_shape) if c.part == number], by_shape)
        _clear(part_rows, [c for c in _columns(entity, (o for _, o in cleared)) if c.part == number], cleared)
    if entity.overflow is not None:
        _put_over(made[entity.overflow.part], entity.overflow, rows)
    if len(made) > 1:
        _put_spine(entity, bases, made, rows, by_shape, cleared)
    return [each for each in made.values() if each.copies or each.clear_lines or each.over_lines]


def spread_all(entities: Mapping[str, Entity], tables: Mapping[str, Mapping[WideKey, WideRow]]) -> list[PartRows]:
    """Spread the rows of many entities, by their identities, in the order in which part tables are locked."""
    parts = [rows for name, folded in tables.items() if name in entities for rows in spread(entities[name], folded)]
    return sorted(parts, key=lambda rows: rows.part.table)


def whole(entities: Mapping[str, Entity], names: Iterable[str], *, clears: bool) -> list[PartRows]:
    """Every part table of these entities, with all of its columns, to be staged and with `clears` to be cleared, too;
    no rows."""
    found = [
        rows for name in names if name in entities for rows in _empty(entities[name], entities[name].bases()).values()
    ]
    for rows in found:
        rows.clears = rows.columns if clears else []
        rows.over = next((column for column in rows.columns if column.key == OVERFLOW), None)
    return found


def _empty(entity: Entity, bases: Mapping[int, AbstractSet[int]]) -> dict[int, PartRows]:
    """The entity's parts without rows, by their numbers."""
    leading = frozenset[int]().union(*bases.values())
    return {
        number: PartRows(part, columns=entity.of_part(number), leads=number in leading)
        for number, part in sorted(entity.parts.items())
    }


def _put_over(part_rows: PartRows, over: Column, rows: Mapping[WideKey, WideRow]) -> None:
    """Write the lines for keys without a column of their own."""
    for key, row in rows.items():
        if row.over or row.bare:
            fields = [_json(row.over) if row.over else NULL, _json(sorted(row.bare)) if row.bare else NULL]
            part_rows.over_lines.append("\t".join([_head(key), str(row.position), *fields]) + "\n")
    part_rows.over = over


def _put_spine(
    entity: Entity,
    bases: Mapping[int, AbstractSet[int]],
    made: Mapping[int, PartRows],
    rows: Mapping[WideKey, WideRow],
    by_shape: Mapping[Shape, list[tuple[str, list[str]]]],
    cleared: Iterable[tuple[str, frozenset[int]]],
) -> None:
    """Write the lines for rows that a part has only because another one has a cell there, and of which one may go.

    (A dictionary is a set in order: no row comes twice in one statement.)
    """
    numbers = {ordinal: column.part for ordinal, column in entity.ordinals.items()}
    sets, gone = ({number: dict[str, None]() for number in made} for _ in range(2))

    def missing(ordinals: Iterable[int], *more: int) -> AbstractSet[int]:
        """The parts that lead those of these columns, and have none of them."""
        there = {numbers[ordinal] for ordinal in ordinals}
        return frozenset[int]().union(*(bases[number] for number in {*there, *more})) - there

    for shape, lines in by_shape.items():
        for base in missing(shape):
            sets[base] |= dict.fromkeys(head.rpartition("\t")[0] for head, _ in lines)
    for head, ordinals in cleared:
        for base in missing(ordinals):
            gone[base][head] = None
    if entity.overflow is not None:
        over = entity.overflow.part
        for key, row in rows.items():
            for base in missing(_those(row, gone=False), over) if row.over else ():
                sets[base][_head(key)] = None
            for base in missing(_those(row, gone=True), over) if row.bare else ():
                gone[base][f"{_head(key)}\t{row.position}"] = None
    for number, part_rows in made.items():
        if sets[number]:
            part_rows.copies.append(Lines([], [f"{key}\t{BARE}\n" for key in sets[number]]))
        bits = "0" * len(part_rows.clears)
        part_rows.clear_lines += [f"{head}\t{bits}\n" for head in gone[number]]


def _those(row: WideRow, *, gone: bool) -> Iterator[int]:
    """The columns that a row sets, or those whose cells are gone."""
    return (ordinal for ordinal, value in row.cells.items() if (value is None) is gone)


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
