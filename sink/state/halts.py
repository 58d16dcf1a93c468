"""The halts of a sink, each with what was found and the way on."""

from __future__ import annotations

from typing import Final

from cdc.fate import Fate, Whose
from cdc.fault import Fault
from cdc.halt import CONNECTOR, OVER_THE_GAP, Cause, Halt
from cdc.lsn import Lsn
from sink.fold.progress import Progress


def truncated(table: str, position: Lsn) -> Halt:
    """The narrow table was truncated, and the mapping says to stop at that."""
    return Halt(
        Cause.TRUNCATE,
        f"the narrow table {table} was truncated at {position}",
        "set on_truncate in [sink] to ignore (keep the wide rows) or apply (truncate them too);"
        f" then `widebeam run {CONNECTOR}`",
    )


def log_incomplete(progress: Progress, seconds: float) -> Halt:
    """A generation has a gap, and no next one came."""
    return Halt(
        Cause.LOG_INCOMPLETE,
        f"partition {progress.partition} lacks a record of generation {progress.generation} before offset"
        f" {progress.next_offset}, and no run of capture has sent it again in {seconds:.0f} s",
        f"`widebeam run {CONNECTOR}` brings it again, unless the slot was acknowledged beyond it. Then the log has lost"
        f" what it had confirmed: {OVER_THE_GAP}",
    )


_COULD_NOT: Final = {Whose.SOURCE: "the source could not be read", Whose.TARGET: "the target could not be written"}


def given_up(error: BaseException, found: Fault | None, seconds: float) -> Halt:
    """One failure after the other, and whose they were."""
    whose = Whose.TARGET if found is None else found.whose
    did = _COULD_NOT.get(whose, f"{whose} failed")
    if found is not None and found.fate is Fate.REFUSED:
        did = f"{whose} does not let us in (see the role, its password and pg_hba.conf), which it has not"
    return Halt(
        Cause.REPEATED_FAILURE,
        f"{did} for {seconds:.0f} s: {error}",
        f"mend what the message says, and `widebeam run {CONNECTOR}`: nothing is lost",
    )


def partitions_changed(connector: str, unknown: list[int]) -> Halt:
    """The log has partitions that it had not when the connector was made."""
    return Halt(
        Cause.PARTITIONS_CHANGED,
        f"partitions {unknown} of connector {connector} have no row in widebeam.progress: they were added later",
        f"wide keys would change partitions and lose their order. `widebeam drop {CONNECTOR} --yes`, set"
        f" `partitions` in [kafka], then `widebeam run {CONNECTOR}`.",
    )


def retention_gap(where: str, wanted: int, first: int) -> Halt:
    """The log does not hold the next record any more."""
    return Halt(
        Cause.RETENTION_GAP,
        f"{where} is wanted from offset {wanted}, and the log begins at {first}: what lay between was never applied",
        f"raise the topic's retention above the longest time that a sink rests. {OVER_THE_GAP}",
    )


def log_ends_before(where: str, wanted: int, end: int) -> Halt:
    """The log is shorter than what was applied of it: it is another log."""
    return Halt(
        Cause.TOPIC_RECREATED,
        f"{where} is wanted from offset {wanted}, and the log ends at {end}: it was recreated, or has lost records",
        f"its positions are offsets of a log that is no more. {OVER_THE_GAP}",
    )


def log_gone(topic: str, said: str) -> Halt:
    """There is no such topic any more."""
    return Halt(
        Cause.TOPIC_RECREATED,
        f"topic {topic} is gone: {said}",
        f"its positions are offsets of a log that is no more. {OVER_THE_GAP}",
    )
