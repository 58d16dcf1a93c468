"""Capture and its log: runs that fail, redeliver with other record boundaries, and leave zombies behind.

The records are made by the real assembler (cdc.record.assembler).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from cdc.event import Begin, Column, Commit, Delete, Event, Relation, Row, Update
from cdc.event import Truncate as Truncated
from cdc.lsn import Lsn
from cdc.record.assembler import Assembler, Numbering
from cdc.record.record import Record
from cdc.source.narrow import NarrowTable
from tests.model.rules import Rule
from tests.model.source import Cell, History, Move, Operation, Put, Remove, Transaction, Truncate

PARTITIONS = 2
POSITION_STEP = 8  # commit LSNs are multiples of 8, which leaves room for the phases of truncates

TABLE = NarrowTable("public", "narrow", ("ship",), ("time",), ("key",), ("value",))
RELATION = Relation(
    1,
    "public",
    "narrow",
    "d",
    tuple(Column(name, 25, -1, name != "value") for name in ("ship", "time", "key", "value")),
)


class NeverRead:
    """No value is TOASTed here, so the source is never asked for a row."""

    def read(self, table: NarrowTable, cell: Row, xid: int) -> Row | None:
        """Not called."""
        raise AssertionError(f"{table.qualified} {cell} {xid}")


def events(number: int, transaction: Transaction) -> list[Event]:
    """One transaction as the decoder would give it."""
    lsn = Lsn(POSITION_STEP * (number + 1))
    return [
        Begin(lsn, 0, number),
        RELATION,
        *(_event(operation) for operation in transaction.operations),
        Commit(lsn, Lsn(lsn + POSITION_STEP), 0),
    ]


def _event(operation: Operation) -> Event:
    match operation:
        case Truncate():
            return Truncated((RELATION,), cascade=False, restart_identity=False)
        case Put(cell, value):
            return Update(RELATION, None, False, _row(cell, value))
        case Remove(cell):
            return Delete(RELATION, _row(cell, None), False)
        case Move(old, new, value):
            return Update(RELATION, _row(old, None), False, _row(new, value))


def _row(cell: Cell, value: str | None) -> Row:
    return (cell.ship, cell.time, cell.key, value)


@dataclass(slots=True)
class Run:
    """One run of capture: what each partition got of it, and which transactions lost a record."""

    assembler: Assembler
    rules: frozenset[Rule]
    delivered: list[list[Record]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    sent: list[tuple[int, int, int]] = field(default_factory=list)  # transaction, partition, sequence

    @classmethod
    def of(cls, generation: int, rules: frozenset[Rule], random: Random) -> Run:
        """A run that cuts transactions into records in its own way."""
        numbering = Numbering("model", generation, PARTITIONS)
        return cls(Assembler([TABLE], numbering, NeverRead(), most_rows=random.randint(1, 5)), rules)

    def capture(self, number: int, transaction: Transaction, loss: float, random: Random) -> None:
        """Publish a transaction; a record that is lost leaves a gap, and later ones are delivered all the same."""
        for event in events(number, transaction):
            for partition, _, record in self.assembler.take(event):
                self.sent.append((number, partition, record.stamp.sequence))
                if random.random() >= loss:
                    self.delivered[partition].append(self._by_rule(record))

    def _by_rule(self, record: Record) -> Record:
        """The record as it is, or without the phase of its transaction."""
        if Rule.PHASE in self.rules:
            return record
        position = record.stamp.position // POSITION_STEP * POSITION_STEP
        return record._replace(stamp=record.stamp._replace(position=Lsn(position)))

    def first_missing(self, stop: int, kept: list[int]) -> int:
        """The first transaction that is not wholly delivered when only `kept` records of each partition count."""
        there = [{each.stamp.sequence for each in self.delivered[p][: kept[p]]} for p in range(PARTITIONS)]
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
        run = Run.of(generation, rules, random)
        for number in range(acknowledged, stop):
            run.capture(number, history.transactions[number], 0.0 if last else 0.1, random)
        kept = [_kept(len(mine), last, random) for mine in run.delivered]
        for p, mine in enumerate(run.delivered):
            logs[p] += _mixed(late[p], mine[: kept[p]], random)
            late[p] = mine[kept[p] :]  # the zombie's buffer: it arrives among the next run's records
        safe = run.first_missing(stop, kept) if Rule.ACKNOWLEDGE in rules else stop
        acknowledged = random.randint(acknowledged, safe)
    return logs


def _kept(size: int, last: bool, random: Random) -> int:
    """How many records of a run arrive before it ends; the rest arrives late."""
    return random.randint(0, size) if not last and random.random() < 0.3 else size


def _mixed(late: list[Record], mine: list[Record], random: Random) -> list[Record]:
    """Two producers' records in one partition: each keeps its own order."""
    late, mine, out = list(late), list(mine), []
    while late or mine:
        out.append((late if late and (not mine or random.random() < 0.5) else mine).pop(0))
    return out
