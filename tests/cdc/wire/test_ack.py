from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.lsn import Lsn
from cdc.wire.ack import Acknowledger


def test_a_commit_is_acknowledged_when_all_its_records_are_delivered() -> None:
    ack = Acknowledger(Lsn(100))
    ack.began()
    first, second = ack.token(), ack.token()
    ack.delivered([second])
    ack.committed(Lsn(200))
    assert ack.acknowledged == 100
    ack.delivered([first])
    assert ack.acknowledged == 200


def test_a_later_transaction_waits_for_an_earlier_one() -> None:
    ack = Acknowledger(Lsn(0))
    ack.began()
    early = ack.token()
    ack.committed(Lsn(200))
    ack.began()
    late = ack.token()
    ack.committed(Lsn(300))
    ack.delivered([late])
    assert ack.acknowledged == 0
    ack.delivered([early])
    assert ack.acknowledged == 300


def test_a_transaction_without_records_is_acknowledged_at_its_commit() -> None:
    ack = Acknowledger(Lsn(0))
    ack.began()
    ack.committed(Lsn(200))
    assert ack.acknowledged == 200


def test_a_keepalive_counts_only_with_nothing_in_flight() -> None:
    ack = Acknowledger(Lsn(0))
    ack.passed(Lsn(50))
    assert ack.acknowledged == 50
    ack.began()
    ack.passed(Lsn(60))
    token = ack.token()
    ack.committed(Lsn(70))
    ack.passed(Lsn(80))
    assert ack.acknowledged == 50
    ack.delivered([token])
    assert ack.acknowledged == 70
    ack.passed(Lsn(80))
    assert ack.acknowledged == 80


def test_a_delivered_part_of_an_open_transaction_is_not_acknowledged() -> None:
    ack = Acknowledger(Lsn(5))
    ack.began()
    ack.delivered([ack.token()])
    ack.passed(Lsn(1000))
    assert (ack.acknowledged, ack.idle) == (5, False)


@dataclass
class Naive:
    """The same by looking through the whole history at each question."""

    start: int
    events: list[tuple[str, int]] = field(default_factory=list)
    delivered: set[int] = field(default_factory=set)
    kept: int = 0

    def acknowledged(self) -> int:
        token, best = 0, self.start
        for kind, value in self.events:
            if kind == "token" and token not in self.delivered:
                break
            token += kind == "token"
            if kind == "commit":
                best = value
        self.kept = max(self.kept, best)
        return self.kept

    def keepalive(self, wal_end: int) -> None:
        kinds = [kind for kind, _ in self.events]
        ended = kinds.count("begin") == kinds.count("commit")
        if ended and kinds.count("token") == len(self.delivered):
            self.kept = max(self.kept, wal_end)


@given(
    steps=st.lists(st.sampled_from(["begin", "token", "token", "commit", "deliver", "deliver", "keepalive"])),
    data=st.data(),
)
@settings(max_examples=300)
def test_the_acknowledger_agrees_with_a_naive_one(steps: list[str], data: st.DataObject) -> None:
    ack, naive, position, is_open = Acknowledger(Lsn(8)), Naive(8), 8, False
    flying: list[int] = []
    for step in steps:
        before = ack.acknowledged
        position += 8
        if step == "begin" and not is_open:
            is_open = True
            ack.began()
            naive.events.append(("begin", 0))
        elif step == "token" and is_open:
            flying.append(ack.token())
            naive.events.append(("token", 0))
        elif step == "commit" and is_open:
            is_open = False
            ack.committed(Lsn(position))
            naive.events.append(("commit", position))
        elif step == "deliver" and flying:
            token = flying.pop(data.draw(st.integers(0, len(flying) - 1)))
            ack.delivered([token])
            naive.delivered.add(token)
        elif step == "keepalive":
            naive.acknowledged()
            ack.passed(Lsn(position))
            naive.keepalive(position)
        assert ack.acknowledged == naive.acknowledged() >= before
        assert ack.in_flight == len(flying)
