"""How a connector is: one look at the facts, one answer with its cause and the command to give. Pure.

Each rule answers for one kind of trouble, or says nothing; the first that answers is the state, the others are told
beside it. Seconds are such that what lasts is told within a minute, and what passes by itself is not told at all: a
part that was just started, a group of sinks that is just dealt anew, a server that was away for a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple, TypeAlias

from widebeam.state.sign import Sign
from widebeam.status.facts import Facts, Phase
from widebeam.status.quantity import duration, size

State: TypeAlias = (
    "Phase | Literal['absent', 'unreachable', 'stopped', 'lost', 'stuck', 'impaired', 'halted', 'dropping']"
)

GRACE: Final = 40.0
"""Seconds that a process may take from its start to its first work, and a group of sinks to deal partitions anew."""
LASTS: Final = 15.0
"""Seconds after which a trouble that a part names is no passing one."""
_WHO: Final = {
    "watch": "capture cannot look at the source's catalog",
    "dictionary": "the source's dictionary cannot be read, so that readings of new ids go to the quarantine",
}
"""Troubles beside which the readings that are known go on."""
MANY: Final = 20
"""Rows in the quarantine below which it says nothing of the mapping."""
TIGHT: Final = 0.2
"""The share of what a slot may hold that is left when it is time to say so."""

CAPTURES: Final = frozenset(("capture", "stream"))
APPLIES: Final = frozenset(("sink", "stream"))


class Verdict(NamedTuple):
    """The state; what is the matter and the command to give, both empty where all is well. `also` is what else is."""

    state: State
    cause: str = ""
    command: str = ""
    also: tuple[str, ...] = ()

    @property
    def well(self) -> bool:
        """Is it at work, and nothing the matter?"""
        return not self.cause


def judge(facts: Facts) -> Verdict:
    """The verdict: the first rule's that answers, or the phase."""
    if facts.read_only:  # signs of life cannot be written there: that they are old says nothing
        facts = facts._replace(signs=None)
    found = [verdict for rule in _RULES for verdict in rule(facts)]
    if not found:
        return Verdict(facts.phase)
    return found[0]._replace(also=tuple(each.cause for each in found[1:]))


def _dropping(facts: Facts) -> Iterator[Verdict]:
    if facts.dropping:
        yield Verdict("dropping", "a drop has begun and has not ended", f"widebeam drop {facts.connector}")


def _halted(facts: Facts) -> Iterator[Verdict]:
    """Not any more once a process that was started after it has run well for a while."""
    halt = facts.halt
    if halt is None or any(_captures_or_applies(one) and GRACE <= _ran(one) < halt.age for one in _fresh(facts)):
        return
    yield Verdict("halted", halt.what, halt.remedy)


def _lost(facts: Facts) -> Iterator[Verdict]:
    over = f"widebeam resume {facts.connector} --backfill-gap"
    if facts.phase == "preparing" or not facts.looked or _away(facts, "source"):
        return
    if facts.slot is None:
        yield Verdict("lost", f"the replication slot {facts.slot_name} is gone: changes are missed", over)
    elif facts.slot.status == "lost":
        yield Verdict(
            "lost", f"the server has invalidated the replication slot {facts.slot_name}: changes are missed", over
        )


def _read_only(facts: Facts) -> Iterator[Verdict]:
    if facts.read_only:
        yield Verdict(
            "stuck",
            "the target takes no writes: it is a standby, or read-only by default_transaction_read_only",
            "point `dsn` of [target] at the primary, or make it writable again",
        )


def _held_up(facts: Facts) -> Iterator[Verdict]:
    for what in facts.held_up:
        yield Verdict("stuck", what, f"widebeam check {facts.connector}")


def _stopped(facts: Facts) -> Iterator[Verdict]:
    if facts.signs is None or _fresh(facts) or (facts.slot is not None and facts.slot.active):
        return
    last = min((one.age for one in facts.signs), default=None)
    ended = "" if last is None else f"; the last sign of a process of its came {_ago(last)}, and no goodbye"
    yield Verdict("stopped", f"nobody runs it{ended}{_held(facts)}", f"widebeam run {facts.connector}")


def _held(facts: Facts) -> str:
    slot = facts.slot
    if slot is None or slot.retained is None:
        return ""
    bound = (
        ", and max_slot_wal_keep_size sets no limit"
        if slot.room is None
        else f", and is lost after {size(slot.room)} more"
    )
    return f"; its slot holds {size(slot.retained)} of WAL on the source{bound}"


def _silent(facts: Facts) -> Iterator[Verdict]:
    """Somebody streams, and no capture of ours says that it lives: it is stopped, or somebody else's."""
    slot, fresh = facts.slot, _fresh(facts)
    if facts.signs is None or slot is None or not slot.active or any(one.kind in CAPTURES for one in fresh):
        return
    runs = [one for one in fresh if one.kind == "run"]
    if runs and min(map(_ran, runs)) < GRACE:
        return
    last = min((one.age for one in facts.signs if one.kind in CAPTURES), default=None)
    ended = "there was none yet" if last is None else f"the last one came {_ago(last)}"
    yield Verdict(
        "stuck",
        f"capture gives no sign of life ({ended}), though the slot {facts.slot_name} is in use",
        "end the process that holds the slot: it is started again",
    )


def _nobody_captures(facts: Facts) -> Iterator[Verdict]:
    fresh = _fresh(facts)
    if facts.signs is None or facts.slot is None or not fresh or facts.phase == "preparing":
        return
    captures = [one for one in fresh if one.kind in CAPTURES]
    if facts.slot.active:
        standing = [trouble for one in captures for trouble in one.troubles if trouble.where == "slot"]
        if captures and len(standing) == len(captures) and min(each.seconds for each in standing) > LASTS:
            yield Verdict("stuck", f"somebody else streams: {standing[0].what}", "end that process")
        return
    runs = [one for one in fresh if one.kind in CAPTURES or one.kind == "run"]
    if runs and (min(map(_ran, runs)) < GRACE or 0 <= (facts.slot.inactive or 0) < GRACE):
        return
    verb = "capture" if facts.transport == "kafka" and not runs else "run"
    yield Verdict(
        "stuck", f"nobody streams from the slot {facts.slot_name}{_held(facts)}", f"widebeam {verb} {facts.connector}"
    )


def _nobody_applies(facts: Facts) -> Iterator[Verdict]:
    fresh = _fresh(facts)
    if facts.signs is None or not fresh or any(one.kind in APPLIES for one in fresh) or facts.phase == "preparing":
        return
    runs = [one for one in fresh if one.kind == "run"]
    if (runs and min(map(_ran, runs)) < GRACE) or facts.transport == "direct":
        return
    last = min((one.age for one in facts.signs if one.kind in APPLIES), default=None)
    ended = "" if last is None else f"; the last sign of one came {_ago(last)}"
    yield Verdict("stuck", f"no sink runs{ended}", f"widebeam sink {facts.connector}")


def _names_it(facts: Facts) -> Iterator[Verdict]:
    """What the parts themselves fail at."""
    for one in _fresh(facts):
        for trouble in one.troubles:
            if trouble.seconds < LASTS or trouble.where == "slot" or (trouble.where == "reading" and _nothing(facts)):
                continue
            who = _WHO.get(trouble.where, f"{one.part} fails")
            yield Verdict(
                "impaired" if trouble.where in _WHO else "stuck",
                f"{who} (on {one.host}, for {trouble.seconds + one.age:.0f} s): {trouble.what}",
                f"widebeam check {facts.connector}",
            )
        if one.how == "hung":
            yield Verdict(
                "stuck", f"{one.part} on {one.host} (PID {one.pid}) hangs", "end that process: it is started again"
            )


def _waiting(facts: Facts) -> Iterator[Verdict]:
    if any(_captures_or_applies(one) and _ran(one) < GRACE for one in _fresh(facts)):
        return
    late = [one for one in facts.waits if one.age > GRACE and one.still > GRACE]
    if late and (_fresh(facts) or facts.signs is None):
        first = max(late, key=lambda one: one.age)
        yield Verdict(
            "stuck",
            f"{first.where}: a change has waited for {first.age:.0f} s, and nothing got on for {first.still:.0f} s",
            f"widebeam check {facts.connector}",
        )


def _unreachable(facts: Facts) -> Iterator[Verdict]:
    for what in facts.unreachable:
        yield Verdict(facts.phase, what, f"widebeam check {facts.connector}")


def _quarantined(facts: Facts) -> Iterator[Verdict]:
    refused = facts.refused
    if refused is None or refused.entries < MANY or 2 * refused.entries <= refused.rows:
        return
    mapped = f" (mapped: {facts.mapped})" if facts.mapped else ""
    yield Verdict(
        "impaired",
        f"{refused.entries} of the last {max(refused.rows, refused.entries)} rows went into the quarantine, most for "
        f"{refused.reason}: {refused.detail}{mapped}",
        f"widebeam quarantine list {facts.connector}",
    )


def _chunks(facts: Facts) -> Iterator[Verdict]:
    if facts.chunks_given_up:
        yield Verdict(
            "impaired",
            f"{facts.chunks_given_up} chunks of the history were given up after all attempts",
            f"widebeam run {facts.connector}",
        )
    if facts.signs is None or not facts.chunks_open or facts.phase == "preparing":
        return
    fresh = _fresh(facts)
    if fresh and not any(one.kind in ("backfill", "run") for one in fresh):
        yield Verdict(
            "impaired",
            f"{facts.chunks_open} chunks are open and no backfill runs",
            f"widebeam backfill {facts.connector}",
        )


def _tight(facts: Facts) -> Iterator[Verdict]:
    slot = facts.slot
    if slot is None or slot.room is None or slot.retained is None or slot.status == "lost":
        return
    if slot.status == "unreserved" or slot.room < TIGHT * (slot.room + slot.retained):
        yield Verdict(
            "impaired",
            f"the slot {facts.slot_name} holds {size(slot.retained)} of WAL and is lost after {size(slot.room)} more",
            "raise max_slot_wal_keep_size on the source, or see what holds the stream up",
        )


_RULES: Final[tuple[Callable[[Facts], Iterator[Verdict]], ...]] = (
    _dropping, _halted, _lost, _read_only, _held_up, _stopped, _silent, _nobody_captures, _names_it, _nobody_applies,
    _waiting, _unreachable, _quarantined, _chunks, _tight,
)  # fmt: skip
"""The worst first: what stands before explains what stands behind it."""


def _fresh(facts: Facts) -> list[Sign]:
    return [one for one in facts.signs or () if one.fresh]


def _ran(sign: Sign) -> float:
    """Seconds since the process started."""
    return sign.lived + sign.age


def _captures_or_applies(sign: Sign) -> bool:
    return sign.kind in CAPTURES or sign.kind in APPLIES


def _away(facts: Facts, side: str) -> bool:
    return any(each.startswith(side) for each in facts.unreachable)


def _nothing(facts: Facts) -> bool:
    """Is there nothing to read in the log?"""
    return facts.lag_records == 0


def _ago(seconds: float) -> str:
    return f"{duration(seconds)} ago"
