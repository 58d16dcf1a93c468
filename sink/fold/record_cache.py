"""Templates: where the cells of a record stand, known from a record like it. Pure.

A ship sends the readings of the same channels moment after moment. When a record names the same keys in the same order
as an earlier one of its entity, all its cells are set together, without a step of the interpreter's for each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Final, NamedTuple, TypeAlias

from sink.fold.column_route import Route, Routes
from sink.fold.copytext import escaped
from sink.fold.rows import WideRow

Values: TypeAlias = "Sequence[str | None]"

_KEPT: Final = 400_000
"""Keys and discriminators that are remembered before the memory starts anew, and pieces of _PIECE characters of them;
about 30 MB."""
_PIECE: Final = 64


class ColumnPick(NamedTuple):
    """The values that come out of one column: which one, how they are picked, the ordinals they are set at."""

    column: int
    pick: Callable[[Values], Values]
    ordinals: tuple[int, ...]


Template: TypeAlias = "tuple[ColumnPick, ...]"

_UNMET: Final[Template] = (ColumnPick(-1, tuple, ()),)
"""Stands for what was not met yet."""


class RecordCache:
    """Templates by route and by what the rows name.

    Of what is met once, only that it was met is remembered: a template costs more than the rows themselves.
    """

    def __init__(self, routes: Routes) -> None:
        self._key = routes.key - 1  # there is no op among the columns
        self._discriminator = None if routes.discriminator is None else routes.discriminator - 1
        self._known: dict[tuple[object, ...], Template | None] = {}
        self._kept = 0

    def fold(self, cells: Sequence[Values], route: Route, row: WideRow, *, escape: bool) -> bool:
        """Set the cells of a record of inserts, whose columns are `cells`; False, and nothing is set, where one is
        not just a value for its column."""
        template = self._of(cells, route)
        if not template:
            return False
        found = [(pick.ordinals, pick.pick(cells[pick.column])) for pick in template]
        if not all(all(values) or None not in values for _, values in found):
            return False
        for ordinals, values in found:
            row.cells.update(zip(ordinals, map(escaped, values) if escape else values, strict=True))  # type: ignore[arg-type]
        return True

    def _of(self, cells: Sequence[Values], route: Route) -> Template | None:
        keys = tuple(cells[self._key])
        chosen = () if self._discriminator is None else tuple(cells[self._discriminator])
        place = (route.number, keys, chosen)
        template = self._known.get(place, _UNMET)
        if template is None:
            template = self._known[place] = _made(route, keys, chosen)
        if template is not _UNMET:
            return template
        size = len(keys) + len(chosen) + sum(len(each or "") for each in (*keys, *chosen)) // _PIECE
        self._kept += size
        if self._kept > _KEPT:
            self._known.clear()
            self._kept = size
        self._known[place] = None
        return None


def _made(route: Route, keys: Values, chosen: Values) -> Template:
    """The template of these keys; one without a pick where they are not all plain."""
    picks: defaultdict[int, dict[int, int]] = defaultdict(dict)  # column: ordinal, place
    only = route.values[0] if len(route.values) == 1 else None
    for place, key in enumerate(keys):
        found = route.choices.get(chosen[place]) if chosen else only
        ordinal = None if found is None or key is None else found[1].get(key)
        if found is None or ordinal is None:
            return ()
        picks[found[0] - 1][ordinal] = place
    if len(set().union(*picks.values())) < sum(map(len, picks.values())):  # which comes last in one, not in two
        return ()
    return tuple(ColumnPick(column, _picking(list(at.values())), tuple(at)) for column, at in picks.items())


def _picking(places: list[int]) -> Callable[[Values], Values]:
    if len(places) > 1:
        return itemgetter(*places)
    [place] = places
    return lambda values: (values[place],)
