"""The rows of other origins in the columns of a chunk, where none are to meet: what a chunk's fold asks of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import psycopg

from sink.fold.pivot import Fold
from sink.mapping.dictionary import Dictionary
from sink.mapping.interpret import Interpreters
from sink.mapping.mapping import Mapping
from sink.mapping.origin import Origins, may_meet
from sink.reread import SourceCells
from sink.state.sharing import Sharing
from sink.state.sources import joined

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


class Others:
    """Over the target's session, and one of its own with the source: a chunk is being read over the worker's."""

    def __init__(self, target: Connection, source_dsn: str, mapping: Mapping, dictionary: Dictionary) -> None:
        self._target, self._mapping, self._dictionary = target, mapping, dictionary
        self._cells = SourceCells(source_dsn)
        self._sharing = Sharing(target, mapping)

    @classmethod
    def of(cls, target: Connection, source_dsn: str, mapping: Mapping, dictionary: Dictionary) -> Others | None:
        """None where there can be none, or all rows that meet are read anyway."""
        return cls(target, source_dsn, mapping, dictionary) if may_meet(mapping) else None

    @property
    def origins(self) -> Origins | None:
        """Those of the columns, for a fold."""
        return self._sharing.origins

    def settled(self, fold: Fold, again: Callable[[], Fold]) -> Fold:
        """The fold, with the origins of its columns written down; made again as long as one is news as shared."""
        return self._sharing.settled(fold, again)

    def fill(self, fold: Fold) -> None:
        """Set the cells of shared columns, and tell of those that other rows fill, too."""
        if fold.touched:
            mapping = joined(self._target, self._mapping)
            self._cells.fill(fold, mapping, Interpreters(mapping, self._dictionary))

    def follow(self) -> None:
        """Know which columns are shared by now: before a chunk is read."""
        self._sharing.follow()

    def close(self) -> None:
        """Let go of the source."""
        self._cells.close()
