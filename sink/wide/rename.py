"""Renamed entries of a dictionary: which keys have another name from now on. Pure.

The policy: a key that is all out of the dictionary, and that no id has any more, becomes the new key, with its column
and all its cells, since the source's readings have that name now, old ones too. Where that is not possible (another id
still has the old name, or there is a column of the new name already, so that the cells of two would have to be mixed),
the old column stays as it is, and readings from now on go to the new one; verify names the older cells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence

from sink.mapping.dictionary import Dictionary, Names, Renamed
from sink.mapping.rule import Rule


def renamed_keys(
    rule: Rule, dictionary: Dictionary, renamed: Sequence[Renamed], new: Container[str] = ()
) -> dict[str, str]:
    """Old key -> new key, for entries that have other names now. `dictionary` has the new names already.

    `new` are the ids that were not known before: one of them may have taken the name over that another gave up, and has
    no cell in its column yet.
    """
    names = () if rule.dictionary is None else rule.dictionary.names
    if not rule.key or not set(rule.key) <= set(names):
        return {}
    places = [names.index(name) for name in rule.key]
    moved = {n for n, name in enumerate(names) if name in rule.entity}
    ids = {each.id for each in renamed}
    staying = {
        _key(rule, places, each) for name, each in dictionary.entries.items() if name not in ids and name not in new
    }
    found: dict[str, set[str]] = {}
    for each in renamed:
        before, after = _key(rule, places, each.before), _key(rule, places, each.now)
        if before is not None and after is not None and all(each.before[n] == each.now[n] for n in moved):
            found.setdefault(before, set()).add(after)
    alone = {before: after for before, (after, *more) in found.items() if not more and before not in staying}
    takers = Counter(alone.values())
    return {
        old: new
        for before, after in alone.items()
        if before != after and takers[after] == 1
        for old, new in _columns(rule, before, after)
    }


def _key(rule: Rule, places: list[int], names: Names) -> str | None:
    parts = [names[place] for place in places]
    return None if None in parts else rule.joined([part for part in parts if part is not None])


def _columns(rule: Rule, before: str, after: str) -> list[tuple[str, str]]:
    """The keys of columns: with measures there is one for each value column."""
    if not rule.measures:
        return [(before, after)]
    ends = [f"{rule.measure_separator}{name}" for name in rule.table.values]
    return [(f"{before}{end}", f"{after}{end}") for end in ends]
