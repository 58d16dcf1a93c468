"""Caps: how many columns may come about by themselves. A key may be anything that somebody writes. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from collections.abc import Mapping as Dict
from typing import Final

from sink.mapping.mapping import Mapping
from sink.mapping.wide import ALL, OVERFLOW, Entity, Need, Refused, identity

TOO_MANY: Final = "too_many_columns"
"""The reason in the quarantine."""


def within(
    mapping: Mapping, entities: Dict[str, Entity], missing: Iterable[Need], lately: int
) -> tuple[list[Need], Refused]:
    """Those of the keys that may have a column, in their order, and why the others may not.

    `lately` is how many columns came about in the last hour, for all entities.
    """
    allowed: list[Need] = []
    refused: Refused = {}
    sizes = Counter({name: len(entity.columns) for name, entity in entities.items()})
    seen = set[tuple[str, str]]()
    for need in missing:
        name = ALL if mapping.layout == "single" else identity(need.values)
        if (name, need.key) in refused:
            continue
        if need.key != OVERFLOW and (name, need.key) not in seen:
            if sizes[name] >= mapping.columns_per_table:
                limit = f"columns_per_table = {mapping.columns_per_table}"
            elif lately >= mapping.columns_per_hour:
                limit = f"columns_per_hour = {mapping.columns_per_hour}"
            else:
                limit = ""
            if limit:
                refused[name, need.key] = TOO_MANY, f"no column for it: {limit}"
                continue
            seen.add((name, need.key))
            sizes[name] += 1
            lately += 1
        allowed.append(need)
    return allowed, refused
