"""A sign of life of a process of a connector, as it was last written down. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from cdc.trouble import Trouble

FRESH: Final = 35.0
"""Seconds for which a sign says that the process lives: two may be lost."""


class Sign(NamedTuple):
    """A process's last sign: `age` is how many seconds ago it came, `lived` how long the process had run then.

    `how` is a sign of its heartbeat: starting, at work, or hung.
    """

    part: str
    host: str
    pid: int
    age: float
    lived: float
    how: str
    troubles: tuple[Trouble, ...] = ()

    @property
    def fresh(self) -> bool:
        """Does it say that the process lives?"""
        return self.age <= FRESH

    @property
    def kind(self) -> str:
        """`sink` of `sink 2`."""
        return self.part.partition(" ")[0]
