"""One wide row over several part tables, statement by statement, under the server's row locks (READ COMMITTED).

A view joins its further parts to the first one, its *base*, so the base has a row for every wide key that has a cell in
any part: maybe a *bare* one, without a cell of its own. Sinks take turns at a wide key; chunks fill beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import TypeAlias

PARTS = ("a", "b", "c")
"""In the order of their locks; the base is any of them."""


class Rule(StrEnum):
    """One rule, and what goes wrong without it."""

    BARE = "bare"  # a cell in another part makes a bare row in the base; else readers do not see it
    LOCK = "lock"  # a bare row that is there already is locked; else a clear beside it takes it away
    SETTLE = "settle"  # the base's row is looked at once all parts are cleared; else it stays when the last cell goes
    OTHERS = "others"  # a base's row goes only where no other part has one; else their cells vanish


Statement: TypeAlias = "tuple[str, str]"
"""What is done (set, bare, lock, clear, settle), and in which part. A step of a transaction."""


@dataclass(slots=True)
class Row:
    """A row, by the number of cells that it has. `by` has it locked or has changed it, and `then` is what it will be:
    a number of cells, or None where it is deleted."""

    cells: int | None = None  # None: no committed row
    by: int | None = None
    then: int | None = None


@dataclass(slots=True)
class Rows:
    """The wide row's row in each part."""

    base: str
    rules: frozenset[Rule]
    rows: dict[str, Row] = field(default_factory=lambda: {part: Row() for part in PARTS})

    def run(self, me: int, statement: Statement) -> bool:
        """Run a statement of the transaction `me`; False where it has to wait for another one."""
        what, part = statement
        row = self.rows[part]
        if what == "bare" and Rule.LOCK not in self.rules and row.by is None and row.cells is not None:
            return True
        if what in ("clear", "lock", "settle") and row.by not in (None, me) and row.cells is None:
            return True  # somebody is inserting it: not seen
        if row.by not in (None, me):
            return False
        now = row.then if row.by == me else row.cells
        if what in ("set", "bare"):
            row.by, row.then = me, 1 if what == "set" else (now or 0)
        elif now is not None:
            row.by = me
            row.then = self._after(me, what, part, now)
        return True

    def _after(self, me: int, what: str, part: str, now: int) -> int | None:
        match what:
            case "lock":
                return now
            case "settle":
                return self._left(me, part, now)
        return self._cleared(me, part)

    def _cleared(self, me: int, part: str) -> int | None:
        if part != self.base:
            return None
        return 0 if Rule.SETTLE in self.rules else self._left(me, part, 0)

    def _left(self, me: int, part: str, cells: int) -> int | None:
        """A base's row without a cell goes, where no other part has one that this statement sees."""
        others = [row for name, row in self.rows.items() if name != part]
        seen = any((row.then if row.by == me else row.cells) is not None for row in others)
        return cells if cells or (seen and Rule.OTHERS in self.rules) else None

    def roll_back(self, me: int) -> None:
        """As if it had not been: a deadlock's victim."""
        for row in self.rows.values():
            if row.by == me:
                row.by = row.then = None

    def commit(self, me: int) -> None:
        """What it has changed is there, and its locks are free."""
        for row in self.rows.values():
            if row.by == me:
                row.cells, row.by, row.then = row.then, None, None

    @property
    def right(self) -> bool:
        """Whether readers see every cell, and no row without one."""
        base = self.rows[self.base].cells
        others = any(row.cells is not None for name, row in self.rows.items() if name != self.base)
        return base is not None if others else base != 0


def statements(rows: Rows, sets: set[str], clears: set[str]) -> Iterator[Statement]:
    """A transaction that sets cells of some parts and clears those of others, each at its part's turn."""
    for part in PARTS:
        if part in sets:
            yield "set", part
        elif part == rows.base and sets and Rule.BARE in rows.rules:
            yield "bare", part
        if part in clears or (part == rows.base and clears):
            yield ("clear" if part in clears else "settle" if Rule.SETTLE not in rows.rules else "lock"), part
    if clears and Rule.SETTLE in rows.rules:
        yield "settle", rows.base


def live(seed: int, rules: frozenset[Rule] = frozenset(Rule)) -> bool:
    """Whether readers see each wide row as it is, after each commit of a random history."""
    random = Random(seed)
    rows = Rows(random.choice(PARTS), rules)
    waiting = [_transactions(rows, random, clears=True), *(_transactions(rows, random, clears=False) for _ in "12")]
    running: dict[int, list[Statement]] = {}
    while any(waiting):
        running |= {me: list(left[-1]) for me, left in enumerate(waiting) if left and me not in running}
        order = random.sample(list(running), len(running))
        me = next((each for each in order if not running[each] or rows.run(each, running[each][0])), None)
        if me is None:  # the server ends one of a deadlock's, which is then tried again
            rows.roll_back(order[0])
            del running[order[0]]
        elif running[me]:
            del running[me][0]
        else:
            rows.commit(me)
            waiting[me].pop()
            del running[me]
            if not rows.right:
                return False
    return True


def _transactions(rows: Rows, random: Random, *, clears: bool) -> list[list[Statement]]:
    """What one process does, one transaction after the other: a sink also clears, a chunk only fills."""
    found = []
    for _ in range(random.randint(1, 4)):
        gone = {part for part in PARTS if clears and random.random() < 0.5}
        found.append(list(statements(rows, {p for p in PARTS if p not in gone and random.random() < 0.4}, gone)))
    return found
