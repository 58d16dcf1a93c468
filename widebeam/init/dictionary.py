"""The dictionary of keys: what the ids in a narrow table are called, as a candidate's contents show it. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from typing import Final, NamedTuple, TypeVar

from widebeam.init.candidate import Candidate
from widebeam.init.facts import Catalog, Sample, Table
from widebeam.init.readings import is_text
from widebeam.init.shape import Shape
from widebeam.init.words import about, tokens, words

ENOUGH: Final = 0.9
"""The share of the sample's ids that a dictionary has to know."""

_LONGEST: Final = 250
_BESIDE: Final = 0.9  # the share of the shorter history of two ids in which both have readings
_NAMES: Final = words("name key path code label title tag tagname description")
_POOR: Final = words("description desc short comment comments unit units form version note type")
_IDENTIFIERS: Final = words("uuid guid")
_CHOOSES: Final = (
    "locale lang language type voided retired deleted preferred kind status active enabled scope".split()  # noqa: SIM905
)
"""Words for what chooses between several names of one thing: of two that choose as well, the first."""

_LANGUAGE: Final = words("locale lang language")
"""Of these the value is not free: a shorter list of names in another language is no reason to take that language."""

Value = TypeVar("Value", bound=Hashable)


class Owner(NamedTuple):
    """The table that a dictionary's entry belongs to: whose reading it is."""

    table: Table
    column: str
    """The dictionary's column that refers to it."""
    target: str
    name: str

    def shown(self, key: str) -> str:
        """What the name is called beside the key's, which may be called so, too."""
        return self.name if self.name != key else f"{self.table.name}_{self.name}"


@dataclass(frozen=True, slots=True)
class Dictionary:
    """Ids to names: where they are, the virtual columns that they make, and what is known about them."""

    column: str
    candidate: Candidate
    key: str
    owner: Owner | None
    entity: tuple[str, ...]
    many_to_one: tuple[str, ...]
    """Names that several ids have."""
    owners: int = 0
    """How many entities there are, where they come with the key."""
    only: tuple[tuple[str, str], ...] = ()
    """Conditions (column, value) that were needed to have one name for one id."""
    alias: str | None = None
    """What the names are called in the query, where the narrow table uses a column of their own name."""
    named: bool = False
    """The entity is its owner's name, rather than its id."""
    apart: bool = False
    """Ids of one name have readings all the time, beside each other: they are different things of one name."""

    @property
    def shown(self) -> str:
        """The virtual column with the names."""
        return self.alias or self.key


def choose(
    candidate: Candidate,
    contents: Sample,
    ids: set[str],
    column: str,
    owner: tuple[Owner, Mapping[str, str]] | None,
) -> Dictionary | None:
    """The dictionary that a candidate with these contents is, None if it does not know the ids or names them twice.

    `owner` comes with the name of each owner by its id, where the narrow table itself has no entity.
    """
    known = set(contents.present(candidate.id))
    if not ids or len(ids & known) < ENOUGH * len(ids):
        return None
    name = _name(candidate, contents, column)
    if name is None:
        return None
    group = owner[0].column if owner is not None else None
    only, left = _narrowed(contents, candidate.id, name, group, ids)
    if _repeated(left.present(candidate.id)):
        return None
    grouped = zip(left.values(group or name), left.values(name), strict=True)
    twice = _repeated([(owner_id if group else "", text) for owner_id, text in grouped if text is not None])
    unnamed = ids - {i for i, text in zip(left.values(candidate.id), left.values(name), strict=True) if i and text}
    if len(unnamed) > (1 - ENOUGH) * len(ids):
        return None
    distinct_owner = owner is not None and len(set(owner[1].values())) == len(owner[1])
    entity = () if owner is None else ((owner[0].shown(name),) if distinct_owner else (owner[0].column,))
    shown = tuple(sorted({text for _, text in twice}))
    owners = len(owner[1]) if owner else 0
    of = owner[0] if owner else None
    return Dictionary(column, candidate, name, of, entity, shown, owners, tuple(only), named=distinct_owner)


def owner_of(catalog: Catalog, candidate: Candidate, contents: Sample, column: str) -> Owner | None:
    """Whose an entry is: the dictionary's names are unique together with a column that refers to its owner."""
    name = _name(candidate, contents, column)
    for reference in candidate.table.references:
        target = catalog.find(reference.schema, reference.table)
        if name is None or target is None or not _told_apart(candidate.table, contents, reference.column, name):
            continue
        texts = [each.name for each in target.columns if is_text(each) and not about(each.name, _POOR)]
        best = max(
            texts, key=lambda text: (set(tokens(text)) <= set(tokens(target.name)), text == "name"), default=None
        )
        stems = {word.removesuffix("s") for word in tokens(target.name)}
        exact = next((text for text in texts if set(tokens(text)) & stems), best)
        if exact is not None:
            return Owner(target, reference.column, reference.target, exact)
    return None


def _told_apart(table: Table, contents: Sample, owner: str, name: str) -> bool:
    """Whether names are to be looked for within their owner: an index says so, or some are only there once in it."""
    if any({owner, name} <= set(index.columns) for index in table.indexes):
        return True
    pairs = [each for each in zip(contents.values(owner), contents.values(name), strict=True) if None not in each]
    return bool(_repeated([each[1] for each in pairs])) and not _repeated(pairs)


def at_once(found: Dictionary, contents: Sample, shape: Shape) -> bool:
    """Whether two ids of one name have readings beside each other, rather than the one after the other.

    A tag that was changed has a new id, and the old one ends about there; two sensors of one name go on together.
    """
    ids = {
        identifier: name
        for identifier, name in zip(contents.values(found.candidate.id), contents.values(found.key), strict=True)
        if name in found.many_to_one
    }
    spans: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for identifier, times in shape.sample.groups(found.column, shape.time.columns[0]) if shape.time.columns else ():
        if (name := ids.get(identifier)) is not None:
            moments = sorted(filter(None, map(_moment, times)))
            if len(moments) > 2:
                spans[name].append((moments[0], moments[-1]))
    return any(_beside(*pair) for each in spans.values() for pair in combinations(each[:20], 2))


def _beside(one: tuple[float, float], other: tuple[float, float]) -> bool:
    common = min(one[1], other[1]) - max(one[0], other[0])
    return common >= _BESIDE * min(one[1] - one[0], other[1] - other[0])


def _moment(text: str) -> float | None:
    """A number, or a time as the server prints it in UTC; None where it is neither, as infinity is."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _name(candidate: Candidate, contents: Sample, column: str) -> str | None:
    """The column of the dictionary that names its entries best."""
    scored = []
    for at, each in enumerate(candidate.table.columns):
        present = contents.present(each.name)
        if not is_text(each) or each.name == candidate.id or not present or _IDENTIFIERS & set(tokens(each.name)):
            continue
        if len(present) < ENOUGH * len(contents.rows) or max(map(len, present)) > _LONGEST:
            continue
        found = set(tokens(each.name))
        score = 3.0 * bool(found & _NAMES) + 3.0 * bool(found & (set(tokens(column)) - {"id"}))
        score += max((1.0 + 3.0 * i.unique for i in candidate.table.indexes if each.name in i.columns), default=0.0)
        score += 4.0 * len(set(present)) / len(present) - 4.0 * bool(found & _POOR)
        score -= 3.0 * (len(set(present)) * 10 < len(present))
        scored.append((score, -at, each.name))
    best = max(scored, default=None)
    return None if best is None or best[0] < 3 else best[2]


def _narrowed(
    contents: Sample, id_column: str, name: str, group: str | None, ids: set[str]
) -> tuple[list[tuple[str, str]], Sample]:
    """Conditions that leave one name an id, and one id a name, and still know every id that was known."""
    only: list[tuple[str, str]] = []
    current, fewest = contents, _clashes(contents, id_column, name, group)
    while fewest > (0, 0):
        tries = [
            (_clashes(left, id_column, name, group), column, value, left)
            for column, value, left in _conditions(current, (id_column, name))
            if ids & set(current.present(id_column)) <= set(left.present(id_column))
        ]
        best = min(tries, key=lambda each: (each[0], _rank(each[1])), default=None)
        if best is None or best[0] >= fewest:
            break
        fewest, current = best[0], best[3]
        only.append((best[1], best[2]))
    return only, current


def _clashes(sample: Sample, id_column: str, name: str, group: str | None) -> tuple[int, int]:
    """How many ids, and how many names, are there more than once."""
    grouped = zip(sample.values(group or name), sample.values(name), strict=True)
    return len(_repeated(sample.present(id_column))), len(_repeated([each for each in grouped if each[1] is not None]))


def _rank(column: str) -> int:
    """The place of the column's last word that is in the list above; the list's length if none is."""
    found = [_CHOOSES.index(word) for word in tokens(column) if word in _CHOOSES]
    return found[-1] if found else len(_CHOOSES)


def _conditions(sample: Sample, apart: Sequence[str]) -> Iterator[tuple[str, str, Sample]]:
    """Conditions on a column that could choose between several names."""
    for at, column in enumerate(sample.columns):
        values = sample.distinct(column)
        if column in apart or _rank(column) == len(_CHOOSES) or not 1 <= len(values) <= 50:
            continue
        for value in sorted(values) if not _LANGUAGE & set(tokens(column)) else [_language(sample.present(column))]:
            yield column, value, Sample(sample.columns, tuple(row for row in sample.rows if row[at] == value))


def _language(values: list[str]) -> str:
    """English where there is any, else the language of most names."""
    counts = Counter(values)
    return max(counts, key=lambda value: (value == "en", value.startswith("en"), counts[value], value))


def _repeated(values: Sequence[Value]) -> list[Value]:
    return [value for value, count in Counter(values).items() if count > 1]
