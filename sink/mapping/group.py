"""Groups of keys: auxiliary, engine, navigation. A group has part tables and a view of its own. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from sink.mapping.wide import OVERFLOW

DEFAULT = ""
"""The group of the keys that no group takes. It has no name, and no view of its own."""

LONGEST: Final = 255
"""Characters of the longest key that is searched for a pattern: trying takes ever longer with its length."""


class Group(NamedTuple):
    """The keys of one group: those listed, and those of up to 255 characters in which the pattern is found."""

    name: str
    keys: frozenset[str] = frozenset()
    pattern: re.Pattern[str] | None = None

    def takes(self, key: str) -> bool:
        """Is it a key of this group?"""
        if key in self.keys:
            return True
        return self.pattern is not None and len(key) <= LONGEST and self.pattern.search(key) is not None


def group_of(groups: Iterable[Group], key: str) -> str:
    """The name of the first group that takes the key; DEFAULT where none does, and for the overflow."""
    if key == OVERFLOW:
        return DEFAULT
    return next((group.name for group in groups if group.takes(key)), DEFAULT)
