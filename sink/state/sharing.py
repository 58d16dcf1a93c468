"""Sharing: a fold stands only once it is written down where its columns have rows from, and none is news as shared.

Whoever folds (a batch, a chunk, what lies in quarantine) takes a column that he knows no other origin of for one of its
own. Before he writes its cells he writes that down, and learns what others wrote: if a column turns out to be shared,
all is folded again, and its cells are touched rather than set (sink/mapping/origin.py). So the loop is here, and
nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import psycopg

from sink.mapping.mapping import Mapping
from sink.mapping.origin import Origins, may_meet
from sink.state import origins

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"
Folded = TypeVar("Folded")


class Sharing:
    """What one process knows of shared columns, over its session with the target, which is in autocommit.

    `origins` are for the folds; None where no column can have several, or (`readable`) nobody could read cells again.
    """

    def __init__(self, target: Connection, mapping: Mapping, *, readable: bool = True) -> None:
        self._target, self._connector = target, mapping.connector
        self.origins = Origins() if readable and may_meet(mapping) else None

    def follow(self) -> None:
        """Know which columns are shared by now: before a batch, or a chunk, is folded."""
        if self.origins is not None:
            origins.follow(self._target, self._connector, self.origins)

    def settled(self, fold: Folded, again: Callable[[], Folded]) -> Folded:
        """The fold, with the origins of its columns written down; made `again` as long as one turns out to be shared.

        That has an end: each time, one more column is known to be shared.
        """
        while self.origins is not None and origins.write(self._target, self._connector, self.origins):
            fold = again()
        return fold
