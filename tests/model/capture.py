"""Capture and its log: runs that fail, redeliver with other record boundaries, and leave zombies behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple, TypeAlias

from tests.model.rules import Rule
from tests.model.source import Cell, History, Move, Put, Remove, Transaction, Truncate

PARTITIONS = 2
POSITION_STEP = 8  # commit LSNs are multiples of 8, which leaves room for the phases of truncates


class Rows(NamedTuple):
    """Changes of one wide key: each sets a cell, or clears it with None."""

    wide: int
    cells: list[tuple[str, str | None]]


class Emptied(NamedTuple):
    """A truncate."""


Body: TypeAlias = "Rows | Emptied"
Placed: TypeAlias = "tuple[int, int, Body]"  # partition, position, body


class Record(NamedTuple):
    """One record of a partition's log."""

    generation: int
    sequence: int
    position: int
    body: Body


def partition_of(wide: int) -> int:
    """All changes of a wide key are in one partition."""
    return wide % PARTITIONS


def records(number: int, transaction: Transaction, rules: frozenset[Rule], random: Random) -> list[Placed]:
    """One transaction's records; a wide key's rows are cut at other places in each run."""
    out: list[Placed] = []
    open_rows: dict[int, list[tuple[str, str | None]]] = {}
    position = POSITION_STEP * (number + 1)

    def flush() -> None:
        out.extend((partition_of(wide), position, Rows(wide, cells)) for wide, cells in open_rows.items())
        open_rows.clear()

    for operation in transaction.operations:
        match operation:
            case Truncate():
                flush()
                position += Rule.PHASE in rules
                out.extend((partition, position, Emptied()) for partition in range(PARTITIONS))
            case Put(cell, value):
                _add(open_rows, cell, value)
            case Remove(cell):
                _add(open_rows, cell, None)
            case Move(old, new, value):
                _add(open_rows, old, None)
                _add(open_rows, new, value)
        if random.random() < 0.3:
            flush()
    flush()
    return out


def _add(open_rows: dict[int, list[tuple[str, str | None]]], cell: Cell, value: str | None) -> None:
    open_rows.setdefault(cell.wide, []).append((cell.key, value))


@dataclass(slots=True)
class Run:
    """One run of capture: what each partition got of it, and which transactions lost a record."""

    generation: int
    delivered: list[list[Record]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    sent: list[tuple[int, int, int]] = field(default_factory=list)  # transaction, partition, sequence

    def send(self, number: int, partition: int, position: int, body: Body, lost: bool) -> None:
        """Publish one record; a lost one leaves a gap, and later ones are delivered all the same."""
        sequence = sum(1 for _, other, _ in self.sent if other == partition)
        self.sent.append((number, partition, sequence))
        if not lost:
            self.delivered[partition].append(Record(self.generation, sequence, position, body))

    def first_missing(self, stop: int, kept: list[int]) -> int:
        """The first transaction that is not wholly delivered when only `kept` records of each partition count."""
        there = [{each.sequence for each in self.delivered[p][: kept[p]]} for p in range(PARTITIONS)]
        return min((number for number, p, sequence in self.sent if sequence not in there[p]), default=stop)


def log(history: History, rules: frozenset[Rule], random: Random) -> list[list[Record]]:
    """What all runs of capture leave in each partition; the last run delivers everything that is left."""
    logs: list[list[Record]] = [[] for _ in range(PARTITIONS)]
    late: list[list[Record]] = [[] for _ in range(PARTITIONS)]
    acknowledged, generation, last = history.cutoff, 0, False
    while acknowledged < history.end and not last:
        generation += 1
        last = random.random() < 0.3 or generation > 7
        stop = history.end if last else random.randint(acknowledged, history.end)
        run = _run(generation, history, range(acknowledged, stop), rules, 0.0 if last else 0.1, random)
        kept = [_kept(len(mine), last, random) for mine in run.delivered]
        for p, mine in enumerate(run.delivered):
            logs[p] += _mixed(late[p], mine[: kept[p]], random)
            late[p] = mine[kept[p] :]  # the zombie's buffer: it arrives among the next run's records
        safe = run.first_missing(stop, kept) if Rule.ACKNOWLEDGE in rules else stop
        acknowledged = random.randint(acknowledged, safe)
    return logs


def _run(generation: int, history: History, numbers: range, rules: frozenset[Rule], loss: float, random: Random) -> Run:
    run = Run(generation)
    for number in numbers:
        for partition, position, body in records(number, history.transactions[number], rules, random):
            run.send(number, partition, position, body, random.random() < loss)
    return run


def _kept(size: int, last: bool, random: Random) -> int:
    """How many records of a run arrive before it ends; the rest arrives late."""
    return random.randint(0, size) if not last and random.random() < 0.3 else size


def _mixed(late: list[Record], mine: list[Record], random: Random) -> list[Record]:
    """Two producers' records in one partition: each keeps its own order."""
    late, mine, out = list(late), list(mine), []
    while late or mine:
        out.append((late if late and (not mine or random.random() < 0.5) else mine).pop(0))
    return out
