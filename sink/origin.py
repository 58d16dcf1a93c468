"""Origins: which source rows can be in one column without ever meeting in a cell of it. Pure.

A unique index on (entity, time, key) promises that two rows of one table differ in one of these. Where the key is a
column as it is, rows of one origin, a table, so never meet. Where a dictionary, labels or several parts make the key,
different raw keys may come to the same one: then an origin is a table and a raw key.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

from cdc.event import Value
from sink.mapping import Mapping
from sink.rule import Rule


def may_meet(mapping: Mapping) -> bool:
    """Can one column have several origins, although no rows are to meet in a cell (`several` = "refuse")?"""
    several_tables = len(mapping.rules) > 1 or mapping.family is not None
    return mapping.rule.several == "refuse" and (several_tables or made(mapping.rule))


def made(rule: Rule) -> bool:
    """Is the key made of something, so that another row's may come out the same?"""
    return not (len(rule.key) == 1 and rule.key == rule.table.key) or rule.measures


def origin(rule: Rule, row: tuple[Value, ...]) -> str:
    """The origin of a row, given the values of `table.carried`: the table's name, and what tells raw keys apart."""
    name = rule.table.qualified
    return f"{name} {_digest(row[: len(rule.table.key)])}" if made(rule) else name


@lru_cache(maxsize=65_536)
def _digest(key: tuple[Value, ...]) -> str:
    return blake2b(repr(key).encode(errors="surrogatepass"), digest_size=9).hexdigest()
