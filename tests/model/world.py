"""One random history of source, capture, sinks and backfill, and what it came to."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tests.model.backfill import Backfill
from tests.model.capture import POSITION_STEP, log
from tests.model.repair import Repair, leave_stale_cells
from tests.model.rules import Rule
from tests.model.sink import Partition
from tests.model.source import History, Table
from tests.model.target import Target

ALL_RULES = frozenset(Rule)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a history ended: both tables, and whether readers saw a cell go back to an older change."""

    seed: int
    narrow: Table
    wide: Table
    saw_the_past: bool

    @property
    def right(self) -> bool:
        """Wide equals pivoted narrow, and no reader ever saw the past."""
        return self.narrow == self.wide and not self.saw_the_past


def live(seed: int, rules: frozenset[Rule] = ALL_RULES) -> Outcome:
    """Run the history of this seed under these rules."""
    random = Random(seed)
    history = History.random(random)
    target = Target(rules, POSITION_STEP * history.cutoff + POSITION_STEP // 2)
    partitions = [Partition(target, each) for each in log(history, rules, random)]
    backfill = Backfill(target, history)
    if random.random() < 0.5:
        leave_stale_cells(target, random)
    _interleave(partitions, backfill, Repair(target, history, partitions), random)
    narrow: Table = {cell: value for cell, value in history.snapshot(history.end).items() if value is not None}
    return Outcome(seed, narrow, target.cells(), any(each.saw_the_past for each in partitions))


def _interleave(partitions: list[Partition], backfill: Backfill, repair: Repair, random: Random) -> None:
    """Let everybody take steps in any order until nothing is left to do."""
    replays = random.choice([0, 0, 1, 2])
    while replays or repair.target.repairs or not backfill.done or not all(each.done for each in partitions):
        dice, partition = random.random(), random.choice(partitions)
        if dice < 0.33:
            partition.poll(random)
        elif dice < 0.66:
            partition.commit(random)
        elif dice < 0.8:
            backfill.read(random)
        elif dice < 0.94:
            backfill.merge(random)
        elif dice < 0.96:
            repair.look(random)
        elif dice < 0.98:
            repair.write(random)
        elif replays:
            replays -= 1
            partition.replay(random)
