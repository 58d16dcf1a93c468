"""What an update or a delete means for cells: rows `[op, value, ...]` under wide keys, moves included."""

from __future__ import annotations

from typing import Final, Protocol

from cdc.event import UNCHANGED, Delete, Row, Update, Value
from cdc.halt import CONNECTOR, OVER_THE_GAP, Cause, Halt
from cdc.record.layout import Layout
from cdc.record.record import Op
from cdc.source.narrow import NarrowTable

_MENDED: Final = (
    f"If its identity is still so, `widebeam check {CONNECTOR}` prints the statement that mends it. What came "
    f"meanwhile stays in the stream as it is: {OVER_THE_GAP}"
)
"""The way on. Which statement does it, and breaks no write of the application, only the server's catalog can tell."""


class RowSource(Protocol):
    """Reads a row of a narrow table from the source: only for a move that does not say an unchanged TOAST value."""

    def read(self, table: NarrowTable, cell: Row, xid: int) -> Row | None:
        """`table.carried` of the row at `cell`, once transaction `xid` is visible; None if there is none (any more)."""


def deleted(event: Delete, at: Layout) -> tuple[Row, list[Value]]:
    """The wide key and the row of a delete."""
    _check_identity(at)
    return _removed(event.old, event.old_is_full, at, Op.DELETE)


def updated(event: Update, at: Layout, source: RowSource, xid: int) -> list[tuple[Row, list[Value]]]:
    """The wide keys and rows of an update: one, or for a move the one left and then the one taken."""
    _check_identity(at)
    old, new = event.old, event.new
    if UNCHANGED in new:
        new = _filled(new, event, at)
    if old is None or at.cell(old) == at.cell(new):
        return [(at.wide(new), ["u", *at.carried(new)])]
    carried = at.carried(new)
    if UNCHANGED in carried:
        # The wide cell at the new place does not have the value that stays, so it has to be known. If the row is not
        # at its new place any more, then what took it away is still to come in the stream, and clears the cell.
        carried = source.read(at.table, at.cell(new), xid) or carried
    return [_removed(old, event.old_is_full, at, Op.MOVE), (at.wide(new), ["u", *carried])]


def _check_identity(at: Layout) -> None:
    """An old row says which cell it was, by the identity that the table had when it was written."""
    if at.lacking:
        raise Halt(
            Cause.REPLICA_IDENTITY,
            f"an update or delete of {at.table.qualified} does not say which cell it means: the table's replica "
            f"identity ({at.relation.replica_identity}) lacked {', '.join(at.lacking)} then",
            _MENDED,
        )


def _removed(old: Row, full: bool, at: Layout, op: Op) -> tuple[Row, list[Value]]:
    if not full and None in at.cell(old):
        # The columns of a replica identity cannot be NULL: these were not sent.
        raise Halt(
            Cause.REPLICA_IDENTITY,
            f"an old row of {at.table.qualified} came without {', '.join(at.table.cell)}: {old!r}"[:300],
            _MENDED,
        )
    return at.wide(old), [op.value, *at.carried(old)]


def _filled(new: Row, event: Update, at: Layout) -> Row:
    """The new row with what the old row knows of its unchanged values. The cell has to be known after it."""
    known: Row = event.old or (UNCHANGED,) * len(new)
    filled = tuple(
        before if value is UNCHANGED and (event.old_is_full or column.identity) else value
        for value, before, column in zip(new, known, at.relation.columns, strict=True)
    )
    if UNCHANGED in at.cell(filled):
        raise Halt(
            Cause.REPLICA_IDENTITY,
            f"an update of {at.table.qualified} does not say {', '.join(at.table.cell)}, which are stored out of line",
            _MENDED,
        )
    return filled
