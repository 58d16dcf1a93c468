"""What forbids a run of a connector, whoever is asked: `check` shows it, and what would begin it refuses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from widebeam.config.config import ConfigError
from widebeam.config.connector import Connector
from widebeam.state.recorded import Recorded


class Refusal(NamedTuple):
    """`what` is in the way, and the way on."""

    what: str
    way_on: str

    def __str__(self) -> str:
        return f"{self.what}: {self.way_on}"


def refuse(refusals: Iterable[Refusal]) -> None:
    """ConfigError with all of them, if there are any."""
    if said := [str(each) for each in refusals]:
        raise ConfigError(said)


def half_dropped(found: Recorded, connector: Connector) -> Iterator[Refusal]:
    """One, if a drop was begun: it is ended by the same command."""
    if found.settings.get("dropping"):
        yield Refusal(f"connector {connector.name} is half dropped", f"`widebeam drop {connector.name}` goes on")


def unfinished(found: Recorded, connector: Connector) -> Iterator[Refusal]:
    """What was begun by another command, and is ended by that one; a drop goes before all else."""
    yield from half_dropped(found, connector)
    if found.settings.get("gap") and not found.settings.get("dropping"):
        yield Refusal(
            f"connector {connector.name} has a gap that is half crossed",
            f"`widebeam resume {connector.name} --backfill-gap` goes on",
        )


def foreign_slot(connector: Connector) -> Refusal:
    """A slot that is there before its connector belongs to somebody else, or to a connector by another name."""
    return Refusal(
        f"the slot {connector.slot} exists, but the target knows no connector {connector.name}",
        f"set another `slot` in [source] of {connector.file}, or, if nobody needs that one: "
        f"SELECT pg_drop_replication_slot('{connector.slot}');",
    )
