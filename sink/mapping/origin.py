"""Origins: which source rows can be in one column without ever meeting in a cell of it. Pure.

A unique index on (entity, time, key) promises that two rows of one table differ in one of these. Where the key is a
column as it is, rows of one origin, a table, so never meet. Where a dictionary, labels or several parts make the key,
different raw keys may come to the same one: then an origin is a table and a raw key.

Nearly every column has one origin, and then nothing has to be asked. A column with a second one is *shared*: month
tables, an item that changed its type, an archive. There is nothing wrong with that, but its rows can meet in a cell, so
that each change of one of its cells is read again from the source (sink/reread.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple, TypeAlias

from cdc.event import Value
from sink.mapping.mapping import Mapping
from sink.mapping.rule import Rule

Place: TypeAlias = "tuple[str, str]"
"""A column: the entity's identity as the registry has it, and the key."""


class Told(NamedTuple):
    """What is written down of a column: the first origin that it had, and whether there are others."""

    entity: str
    key: str
    origin: str
    shared: bool


class Origins:
    """What one process knows of the columns' origins. `met` are those that it does not know to be a column's only one.

    After a fold, what was met is to be written down and learnt; where a column turns out to be shared, fold again.
    """

    def __init__(self) -> None:
        self._known: dict[Place, str | None] = {}  # None: shared
        self.met: dict[Place, set[str]] = {}
        self.shared = 0

    def alone(self, place: Place, origin: str) -> bool:
        """Is this the column's only origin, as far as is known? One that is not known yet is met, and taken for it."""
        known = self._known.get(place, "")
        if known == origin:
            return True
        if known is None:
            return False
        self.met.setdefault(place, set()).add(origin)
        return True

    def learn(self, told: Iterable[Told]) -> bool:
        """Take in what is written down; whether it says that a column which was met is shared."""
        news = False
        for entity, key, origin, shared in told:
            place = entity, key
            news |= shared and place in self.met
            self._known[place] = None if shared else origin
            self.met.pop(place, None)
        return news


def may_meet(mapping: Mapping) -> bool:
    """Can a column have several origins, although no rows are to meet in a cell (`several` = "refuse")?

    (Where there is neither entity nor time, a wide table is one row, and nobody would look for others in time.)
    """
    several_tables = len(mapping.rules) > 1 or mapping.family is not None
    rule = mapping.rule
    return rule.several == "refuse" and bool(rule.table.wide) and (several_tables or made(rule))


def made(rule: Rule) -> bool:
    """Is the key made of something, so that another row's may come out the same?"""
    return rule.key != rule.table.key or len(rule.key) != 1 or rule.measures


def origin(rule: Rule, row: tuple[Value, ...]) -> str:
    """The origin of a row, given the values of `table.carried`: the table's name, and what tells raw keys apart."""
    name = rule.table.qualified
    if not made(rule):
        return name
    key = row[: len(rule.table.key)]
    short = sum(len(each) for each in key if isinstance(each, str)) <= _LONG
    return f"{name} {_remembered(key) if short else _digest(key)}"


def _digest(key: tuple[Value, ...]) -> str:
    return blake2b(repr(key).encode(errors="surrogatepass"), digest_size=9).hexdigest()


_LONG: Final = 256
"""Characters of a key beyond which its digest is not remembered: what is, is bounded in bytes."""
_remembered: Final = lru_cache(maxsize=65_536)(_digest)
