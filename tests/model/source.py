"""A narrow table's history: transactions in commit order, and what a snapshot of any moment shows of them.

A moment is the number of transactions that are committed in the WAL, so decoded. A transaction may become visible
later than that (while it waits for a synchronous standby it still holds its row locks), so a snapshot can lack it.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import NamedTuple, TypeAlias

SHIPS = ("a", "b")
TIMES = ("1", "2", "3", "4")  # two to a chunk
KEYS = ("x", "y")

WideKey: TypeAlias = "tuple[str, str]"  # ship, time


class Cell(NamedTuple):
    """One value's place."""

    ship: str
    time: str
    key: str

    @property
    def wide(self) -> WideKey:
        """The wide row in which it is."""
        return self.ship, self.time


class Put(NamedTuple):
    """An insert or an update; None is NULL."""

    cell: Cell
    value: str | None


class Remove(NamedTuple):
    """A delete."""

    cell: Cell


class Move(NamedTuple):
    """An update that changes the row's place and keeps its value."""

    old: Cell
    new: Cell
    value: str | None


class Truncate(NamedTuple):
    """The whole table is emptied."""


Operation: TypeAlias = "Put | Remove | Move | Truncate"
Table: TypeAlias = "dict[Cell, str | None]"


@dataclass(slots=True)
class Transaction:
    """What was done, and the moment from which snapshots see it."""

    operations: list[Operation]
    visible: int

    def touched(self) -> set[Cell] | None:
        """The cells that it locks; None stands for all of them."""
        cells: set[Cell] = set()
        for operation in self.operations:
            match operation:
                case Truncate():
                    return None
                case Move(old, new, _):
                    cells |= {old, new}
                case Put(cell, _) | Remove(cell):
                    cells.add(cell)
        return cells


@dataclass(frozen=True, slots=True)
class History:
    """All transactions, and how many of them lie below the slot's consistent point."""

    transactions: list[Transaction]
    cutoff: int

    @classmethod
    def random(cls, random: Random) -> History:
        """A few transactions of a few operations each."""
        table: Table = {}
        transactions = []
        for number in range(random.randint(3, 12)):
            operations = [_operation(table, random) for _ in range(random.randint(1, 4))]
            transactions.append(Transaction(operations, number + 1))
        _delay(transactions, random)
        return cls(transactions, random.randint(0, len(transactions)))

    @property
    def end(self) -> int:
        """The moment after the last transaction; everything is visible then."""
        return len(self.transactions)

    def running(self, moment: int) -> list[int]:
        """Transactions that are committed but not yet visible: they are in the snapshot's xip."""
        return [number for number, each in enumerate(self.transactions[:moment]) if each.visible > moment]

    def snapshot(self, moment: int) -> Table:
        """The table as a snapshot taken at this moment shows it."""
        table: Table = {}
        for each in self.transactions[:moment]:
            if each.visible <= moment:
                for operation in each.operations:
                    apply(table, operation)
        return table


def apply(table: Table, operation: Operation) -> None:
    """Do one operation to a narrow table."""
    match operation:
        case Truncate():
            table.clear()
        case Put(cell, value):
            table[cell] = value
        case Remove(cell):
            table.pop(cell, None)
        case Move(old, new, value):
            table.pop(old, None)
            table[new] = value


def _operation(table: Table, random: Random) -> Operation:
    """One operation that the table allows, done to it."""
    cell = Cell(random.choice(SHIPS), random.choice(TIMES), random.choice(KEYS))
    dice = random.random()
    operation: Operation
    if dice < 0.06:
        operation = Truncate()
    elif dice < 0.25 and cell in table:
        operation = Remove(cell)
    elif dice < 0.33 and table and cell not in table:
        old = random.choice(list(table))
        operation = Move(old, cell, table[old])
    else:
        operation = Put(cell, None if random.random() < 0.15 else str(random.randint(1, 10**6)))
    apply(table, operation)
    return operation


def _delay(transactions: list[Transaction], random: Random) -> None:
    """Some transactions become visible late: at most until the next one that needs their locks, or the end."""
    for number, each in enumerate(transactions):
        if random.random() < 0.2:
            wish = number + 1 + random.randint(1, 4)
            each.visible = next(
                (moment for moment in range(number + 1, wish) if _waits(transactions, each, moment)),
                min(wish, len(transactions)),
            )


def _waits(transactions: list[Transaction], holder: Transaction, moment: int) -> bool:
    """Does the transaction at `moment` need a lock that `holder` has until it is visible?"""
    if moment >= len(transactions):
        return False
    mine, theirs = holder.touched(), transactions[moment].touched()
    return mine is None or theirs is None or bool(mine & theirs)
