"""Tables that may be the dictionary of a narrow table's ids: by a foreign key, or by their names. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from widebeam.init.facts import Catalog, Column, Table
from widebeam.init.readings import is_text
from widebeam.init.words import KEY, about, tokens

_IDS: Final = ("smallint", "integer", "bigint", "numeric", "uuid")


class Candidate(NamedTuple):
    """A table that may be the dictionary: its id column, and why it may be. Higher scores are looked at first."""

    table: Table
    id: str
    score: int
    why: str


def candidates(catalog: Catalog, table: Table, column: str | None) -> list[Candidate]:
    """Tables that may name the ids in `column` (None: the numbers in the table's own name), the likeliest first."""
    found = list(_by_reference(catalog, table, column) if column is not None else ())
    known = {(each.table.qualified, each.id) for each in found}
    found += [each for each in _by_name(catalog, table, column) if (each.table.qualified, each.id) not in known]
    return sorted(found, key=lambda each: (-each.score, each.table.rows, each.table.qualified))


def _by_reference(catalog: Catalog, table: Table, column: str) -> Iterator[Candidate]:
    reference = table.reference(column)
    target = None if reference is None else catalog.find(reference.schema, reference.table)
    if reference is None or target is None:
        return
    yield Candidate(target, reference.target, 20, f"{column} refers to {target.qualified}")
    for other, back in catalog.referring(target, reference.target):
        if other != table and any(is_text(each) and "name" in tokens(each.name) for each in other.columns):
            why = f"{column} refers to {target.qualified}, whose entries {other.qualified} names"
            yield Candidate(other, back.column, 18, why)


def _by_name(catalog: Catalog, table: Table, column: str | None) -> Iterator[Candidate]:
    if column is not None and table.reference(column) is not None:
        return  # the schema itself says what the ids are
    for other in catalog.tables:
        if other == table:
            continue
        for each in other.columns:
            if each.type.partition("(")[0] in _IDS and other.unique(each.name):
                score = _alike(table, column, other, each)
                if score:
                    yield Candidate(other, each.name, score, f"{other.qualified}.{each.name} knows these ids by name")


def _alike(table: Table, column: str | None, other: Table, id_column: Column) -> int:
    """How much another table's id looks like what our column holds."""
    if not any(is_text(each) for each in other.columns):
        return 0
    if column is None:
        kin = set(tokens(table.name)[:1]) & {word.removesuffix("s") for word in tokens(other.name)}
        return 8 if kin else 6 * about(other.name, KEY)
    ours = {word for word in tokens(column) if word != "id"}
    score = 3 * (other.schema == table.schema)
    score += 6 * (id_column.name == column and about(column, frozenset(ours)))
    score += 4 * bool(ours & {word.removesuffix("s") for word in tokens(other.name)})
    score += 3 * any(ours & set(tokens(each.name)) for each in other.columns if is_text(each))
    score += 2 * ("dictionary" in tokens(other.name) or "meta" in tokens(other.name))
    return score if score > 3 else 0
