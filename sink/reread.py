"""Reading cells again: where several source rows can meet in a cell, a change only says that the cell may be another.

What holds is read from the source, once the transactions that touched the cell are visible there. So it is at least as
new as they are; what is newer still comes by the stream too, and the cell is read once more then.

Where deletes are ignored, the source may have lost the row that touched the cell: it counts all the same, as it was. If
it was changed rather than deleted, that change comes by the stream, and the cell is read once more then.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from hashlib import blake2b
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql

from cdc.event import UNCHANGED
from cdc.fate import Whose
from cdc.fault import session_of
from cdc.record.record import Changes, Stamp
from cdc.source.rows import SourceSession, await_visible
from sink.fold.copytext import unescaped
from sink.fold.pivot import Fold
from sink.fold.quarantine_entry import QuarantineEntry, quarantine_entry
from sink.mapping.interpret import Interpreters, Reading, Unplaced
from sink.mapping.mapping import Mapping
from sink.mapping.rule import Rule
from sink.mapping.several import Cell, Meeting, SourceRow, Touch, shown
from sink.mapping.source_range import SourceRange, Test
from sink.wide import tables

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

CROWDED: Final = "crowded_cell"
"""The reason of rows that met in a cell where none are to meet."""

_COMMA: Final = sql.SQL(", ")


class SourceCells:
    """A connection to the source for cells that are read again, made at the first need."""

    def __init__(self, dsn: str) -> None:
        self._source = SourceSession(dsn, "widebeam-cells")

    def settle(self, fold: Fold, mapping: Mapping, interpreters: Interpreters) -> None:
        """Set or clear the cells that were touched in a fold. Raises psycopg.Error, TimeoutError."""
        if fold.touched:
            with session_of(Whose.SOURCE):
                source = self._source.connected()
                await_visible(source, {touch.xid for touch in fold.touched.values()})
                settle(source, fold, mapping, interpreters)

    def fill(self, fold: Fold, mapping: Mapping, interpreters: Interpreters) -> None:
        """Set the cells that were touched in a chunk's fold. Raises psycopg.Error."""
        if fold.touched:
            with session_of(Whose.SOURCE):
                fill(self._source.connected(), fold, mapping, interpreters)

    def close(self) -> None:
        """Let go of the connection."""
        self._source.close()


def settle(source: Connection, fold: Fold, mapping: Mapping, interpreters: Interpreters) -> None:
    """Set or clear the touched cells by what the source, which is in autocommit, has now."""
    source_ranges = {rule.table.qualified: SourceRange(interpreters.of(rule.table.qualified)) for rule in mapping.rules}
    rows = [touch.row for touch in fold.touched.values()]
    with source.transaction():
        source.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        meeting = met(source, mapping, interpreters, rows, fold.touched.keys())
    if mapping.on_delete == "ignore":
        for cell, touch in fold.touched.items():
            if touch.there and UNCHANGED not in touch.row.row and not _is_there(mapping, meeting, cell, touch.row):
                meeting.take(touch.row, [touch.reading])
    for cell, touch in fold.touched.items():
        row, reading = meeting.held.get(cell) or (touch.row, _left(cell, touch, mapping))
        axes = source_ranges[touch.row.table].axes(touch.row)
        moments = [(rule.table.qualified, axis) for rule in mapping.rules for axis in axes]
        refusal = fold.put(reading, touch.position, moments)
        if refusal is not None:
            fold.quarantine_entries.append(_misfit(mapping, row, touch, *refusal))
    _tell(mapping, fold, meeting)


def fill(source: Connection, fold: Fold, mapping: Mapping, interpreters: Interpreters) -> None:
    """Set the touched cells of a chunk as the chunk has them, and tell which of them other rows fill, too.

    That is looked up in the source as it is now: whatever is newer than that comes by the stream, which knows of the
    column's other origins by then. `source` is in autocommit.
    """
    rows = [touch.row for touch in fold.touched.values()]
    with source.transaction():
        source.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        meeting = met(source, mapping, interpreters, rows, fold.touched.keys())
    for cell, touch in fold.touched.items():
        reading = touch.reading
        if reading.value is None and cell in meeting.held:
            reading = meeting.held[cell][1]
        refusal = fold.put(reading, touch.position, [])
        if refusal is not None:
            fold.quarantine_entries.append(_misfit(mapping, touch.row, touch, *refusal))
    _tell(mapping, fold, meeting)


def _is_there(mapping: Mapping, meeting: Meeting, cell: Cell, row: SourceRow) -> bool:
    """Where no rows are to meet: has the source this very row still, so that it does not meet itself as it was?"""
    if mapping.rule.several != "refuse":
        return False
    width = len(mapping.table.key)
    name = row.table, row.head, row.row[:width]
    return any((each.table, each.head, each.row[:width]) == name for each in meeting.rows(cell))


def _tell(mapping: Mapping, fold: Fold, meeting: Meeting) -> None:
    """Rows that meet where none are to go into the quarantine, all of them, each once however often they are met.

    One of them holds the cell meanwhile: which one, nobody has said, and it may have been there before.
    """
    for cell, rows in meeting.crowded().items():
        touch = fold.touched[cell]
        place = ", ".join((*cell.entity, *cell.time))
        detail = f"{len(rows)} rows fill {cell.key!r} of ({place}), where none are to meet: {shown(rows)}"
        fold.crowded[cell] = detail
        for row, _ in rows:
            told = _misfit(mapping, row, touch, CROWDED, detail)
            fold.quarantine_entries.append(
                told._replace(origin=f"row:{blake2b(told.raw.encode(), digest_size=12).hexdigest()}")
            )


def met(
    source: Connection,
    mapping: Mapping,
    interpreters: Interpreters,
    rows: Iterable[SourceRow],
    cells: Container[Cell],
) -> Meeting:
    """All that the narrow tables have of these cells, told from rows that are in them, in the open transaction."""
    source_ranges = {rule.table.qualified: SourceRange(interpreters.of(rule.table.qualified)) for rule in mapping.rules}
    places = sorted({place for row in rows for place in source_ranges[row.table].places(row)})
    tests, meeting = source_ranges[mapping.table.qualified].tests, Meeting(mapping.rules)
    for rule in mapping.met:
        for row in _rows(source, rule, tests, places):
            meeting.take(row, _readings(interpreters, row, cells))
    return meeting


def _left(cell: Cell, touch: Touch, mapping: Mapping) -> Reading:
    """What a cell holds of which no source row is left: nothing, or what the last change of it that counts has said."""
    return touch.reading if mapping.on_delete == "ignore" else Reading(*cell, "", "", None)


def _readings(interpreters: Interpreters, row: SourceRow, cells: Container[Cell]) -> Iterator[Reading]:
    """The readings of a row in these cells; none if the row is not there by `where`."""
    interpreter = interpreters.of(row.table)
    found = interpreter.read(row.head, row.row)
    if not isinstance(found, Unplaced) and interpreter.there(row.head, row.row):
        yield from (each for each in found if Cell(each.entity, each.time, each.key) in cells)


def _rows(source: Connection, rule: Rule, tests: list[Test], places: list[tuple[str, ...]]) -> Iterator[SourceRow]:
    if not places:
        return
    table, width, rest = rule.table.qualified, len(rule.table.wide), b""
    with source.cursor().copy(_select(rule, tests, places)) as copy:
        for block in copy:
            *lines, rest = (rest + bytes(block)).split(b"\n")
            for line in lines:
                values = tuple(map(unescaped, line.decode().split("\t")))
                yield SourceRow(table, values[:width], values[width:])


def _select(rule: Rule, tests: list[Test], places: list[tuple[str, ...]]) -> sql.Composed:
    """COPY, as the backfill reads: without casts, which would print another text than the stream's.

    For ranges of time, one of them after the other by its index: a planner has no idea how short they are, and would
    rather join by anything else. What else is wanted in a range is a list, and may find more than was asked for.
    """
    table = sql.Identifier(rule.table.schema, rule.table.name)
    selected = _COMMA.join(sql.Identifier("source", name) for name in rule.table.columns)
    if not tests:
        return sql.SQL("COPY (SELECT {} FROM {} AS source) TO STDOUT").format(selected, table)
    ranged = sum(test.ranged for test in tests)
    wanted = list(_by_range(places, 2 * ranged)) if ranged else places
    names = [f"k{n}" for n in range(len(wanted[0]))]
    lists = (sql.SQL("{}::text[]").format(sql.Literal([each[n] for each in wanted])) for n in range(len(names)))
    form = sql.SQL(
        "COPY (SELECT {0} FROM unnest({1}) AS wanted ({2})"
        " CROSS JOIN LATERAL (SELECT {0} FROM {3} AS source WHERE {4} OFFSET 0) AS source) TO STDOUT"
        if ranged
        else "COPY (SELECT {0} FROM unnest({1}) AS wanted ({2}) JOIN {3} AS source ON {4}) TO STDOUT"
    )
    where = sql.SQL(" AND ").join(_tests(rule, tests, iter(names)))
    return form.format(selected, _COMMA.join(lists), _COMMA.join(map(sql.Identifier, names)), table, where)


def _by_range(places: Iterable[tuple[str, ...]], width: int) -> Iterator[tuple[str, ...]]:
    """Each range once (of `width` values), and for each of the other tests an array of its values there."""
    found: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for place in places:
        found.setdefault(place[:width], []).append(place[width:])
    for bounds, rest in found.items():
        yield (*bounds, *(_array(dict.fromkeys(values)) for values in zip(*rest, strict=True)))


def _array(values: Iterable[str]) -> str:
    """An array as text. Source: PostgreSQL documentation, "Array Input and Output Syntax"."""
    quoted = (each.replace("\\", r"\\").replace('"', r"\"") for each in values)
    return "{" + ",".join(f'"{each}"' for each in quoted) + "}"


def _tests(rule: Rule, tests: list[Test], names: Iterator[str]) -> Iterator[sql.Composed]:
    ranges = [_in_range(rule, test, names) for test in tests if test.ranged]
    if ranges:
        yield sql.SQL("({})").format(sql.SQL(" OR ").join(ranges))
    for test in tests[len(ranges) :]:
        column, kind = sql.Identifier("source", test.column), tables.type_name(rule.types[test.column])
        lower = sql.Identifier("wanted", next(names))
        if ranges:
            yield sql.SQL("{} = ANY ({}::{}[])").format(column, lower, kind)
        else:
            yield sql.SQL("{} = {}::{}").format(column, lower, kind)


def _in_range(rule: Rule, test: Test, names: Iterator[str]) -> sql.Composed:
    column, kind = sql.Identifier("source", test.column), tables.type_name(test.read_as or rule.types[test.column])
    lower, upper = (sql.Identifier("wanted", next(names)) for _ in range(2))
    return sql.SQL("{0} >= {1}::{3} AND {0} <= {2}::{3}").format(column, lower, upper, kind)


def _misfit(mapping: Mapping, row: SourceRow, touch: Touch, reason: str, detail: str) -> QuarantineEntry:
    """A row whose reading cannot be placed, as the stream would have brought it."""
    table = mapping.table
    stamp = Stamp(mapping.connector, 0, 0, touch.position, touch.xid, 0)
    wide = dict(zip(table.wide, row.head, strict=True))
    changes = Changes(stamp, row.table, wide, list(table.carried), [["u", *row.row]])
    return quarantine_entry(changes, 0, "", reason, detail)._replace(origin=touch.origin)
