"""The rules of the protocol, each of which the model can switch off to show that it is needed."""

from __future__ import annotations

from enum import StrEnum


class Rule(StrEnum):
    """One rule, and what goes wrong without it."""

    ACKNOWLEDGE = "acknowledge"  # the slot moves over what is wholly delivered; else a lost record never comes again
    GENERATION = "generation"  # a sink drops zombies and stops at a gap; else the skip rule makes a lost record final
    SKIP = "skip"  # a record below the highest position is a redelivery; else readers see the past again
    FENCE = "fence"  # compare-and-set of the offset; else a sink that slept overwrites newer values
    TOMBSTONE = "tombstone"  # a cell cleared before its chunk is merged; else the chunk brings it back
    LOCK = "lock"  # the chunk reads tombstones under its ledger row's lock; else one written meanwhile is missed
    FILL = "fill"  # a chunk only fills; else an old value overwrites the stream's
    GATE = "gate"  # a chunk's snapshot lacks no commit below the cutoff; else nobody brings that commit
    PHASE = "phase"  # a truncate stands one above what it removes; else rows of its own transaction survive or vanish
    VOID = "void"  # a truncate voids the chunks that are not merged; else they bring back what it removed
    BUMP = "bump"  # a chunk leaves a row's position alone; else a truncate spares rows that it has to remove
    HOLD = "hold"  # a range is read and set while no sink advances; else an older value overwrites the stream's
    REBASE = "rebase"  # rows of the old stream lie at the new cutoff; else a truncate spares them
