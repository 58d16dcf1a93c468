"""A look at a whole database: which of its tables are narrow, and the connector file for one family of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql

from widebeam.init import look
from widebeam.init.candidate import Candidate, candidates
from widebeam.init.dictionary import Dictionary, Owner, at_once, choose, owner_of
from widebeam.init.document import ASK, document
from widebeam.init.facts import Catalog, Sample, Table
from widebeam.init.propose import sections
from widebeam.init.readings import is_text
from widebeam.init.seen import Seen
from widebeam.init.shape import Family, NotNarrow, Shape, convincing, families, latest, shape, with_empty

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LOOKED_AT: Final = 300  # tables that are sampled at most, the largest first
_TRIED: Final = 4  # candidates whose contents are read


PATIENCE: Final = "10s"
"""For a lock that somebody has on a table: who alters one lets nobody look at it."""


class NothingNarrow(LookupError):
    """No narrow table was found; the message says what there is, and what was missing."""


def survey(session: Session, dsn: str, wanted: Sequence[str] = ()) -> str:
    """The connector file for the tables `wanted` ("schema.table"), or for the largest narrow ones that there are.

    `dsn` is what the file shows: it has no password. Raises NothingNarrow. Reads the catalog, samples and
    dictionaries, in transactions that cannot write.
    """
    session.execute(sql.SQL("SET lock_timeout = {}").format(sql.Literal(PATIENCE)))
    encoding = session.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise NothingNarrow(
            f"the database's encoding is {encoding}, and Widebeam carries UTF8 alone: make a database by "
            "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0; and move the data there by pg_dump"
        )
    catalog = look.catalog(session)
    found = _asked(session, catalog, wanted) if wanted else _largest(session, catalog)
    first, others = found[0], found[1:]
    names = _names(catalog, first)
    parts = first.shapes[0].parts
    alike = tuple(each.table.qualified for family in others for each in family.shapes if each.parts == parts)
    seen = Seen(first, first.whole, _dictionary(session, catalog, first), dsn, first.apart, names, alike)
    return document(_head(seen, others), sections(seen))


def _asked(session: Session, catalog: Catalog, wanted: Sequence[str]) -> list[Family]:
    shapes: list[Shape] = []
    tables = list(dict.fromkeys(each for name in wanted for each in _meant(session, catalog, name)))
    samples = [look.sample(session, table) for table in tables]
    any_rows = any(sample.rows for sample in samples)
    empty = [t for t, sample in zip(tables, samples, strict=True) if any_rows and t.inheritance and not sample.rows]
    for table, sample in zip(tables, samples, strict=True):
        if table in empty:
            continue
        try:
            seen = shape(table, sample)
            shapes += (_timeless(table, sample) if latest(seen) else []) or [seen]
        except NotNarrow as error:
            raise NothingNarrow(str(error)) from None
    family = with_empty(Family(tuple(shapes)), empty)
    if len({each.parts for each in shapes}) > 1 or len(family.shapes) < len(tables):
        raise NothingNarrow(f"{', '.join(wanted)} have not the same shape: each needs a connector of its own")
    return [family]


def _meant(session: Session, catalog: Catalog, name: str) -> list[Table]:
    """The table of a name; of one with inheritance children those at the ends, whose changes come."""
    found = next((table for each in look.parted(name) if (table := catalog.find(*each)) is not None), None)
    if found is None:
        raise NothingNarrow(look.no_table(session, name))
    if found.inheritance is None or not found.has_children:
        return [found]
    ends = [catalog.find(*each) for each in found.inheritance.ends]
    return [each for each in ends if each is not None] or [found]


def _largest(session: Session, catalog: Catalog) -> list[Family]:
    shapes: list[Shape] = []
    as_they_are: list[Shape] = []
    empty: list[Table] = []
    own = [table for table in catalog.tables if not table.has_children]
    for table in sorted(own, key=lambda each: -each.rows)[:_LOOKED_AT]:
        sample = look.sample(session, table)
        if not sample.rows:
            empty.append(table)
        try:
            found = shape(table, sample)
        except NotNarrow:
            continue
        if convincing(found):
            shapes.append(found)
        elif latest(found):
            as_they_are += _timeless(table, sample)
    shapes = shapes or as_they_are  # of a table of the latest readings nothing is told that its history does not tell
    found_families = families(sorted(shapes, key=lambda each: each.table.qualified))
    if not found_families:
        names = ", ".join(table.qualified for table in catalog.tables[:20]) or "none that this role may read"
        hint = "; name one by --table, to hear what it lacks" if catalog.tables else ""
        hidden = "".join(f"; {each}" for each in look.hidden(session))
        raise NothingNarrow(f"no table looks narrow (tables: {names}){hint}{hidden}")
    return [with_empty(family, empty) for family in found_families]


def _timeless(table: Table, sample: Sample) -> list[Shape]:
    try:
        found = shape(table, sample, timeless=True)
    except NotNarrow:
        return []
    return [found] if convincing(found) else []


def _dictionary(session: Session, catalog: Catalog, family: Family) -> Dictionary | None:
    """What the key's ids are called, if they are ids and something names them."""
    first, key = family.shapes[0], family.shapes[0].cell.key
    if first.cell.labels is not None:
        return None
    if key is not None and first.table.column(key).type.partition("(")[0] in ("text", "character varying", "jsonb"):
        return None  # a name already
    if key is None and not (family.numbered or family.ends_in_numbers):
        return None
    ids = {value for each in family.shapes for value in (each.sample.distinct(key) if key else _number(each.table))}
    column = key or "table"
    for candidate in candidates(catalog, first.table, key)[:_TRIED]:
        contents = look.sample(session, candidate.table, look.NAMES)
        owner = _owner(session, catalog, candidate, column) if not first.cell.entity and first.time.columns else None
        found = choose(candidate, contents, ids, column, owner)
        if found is not None:
            whole = family.whole
            used = {*whole.cell.entity, *whole.time.columns, *whole.readings.columns}
            alias = f"{found.candidate.table.name}_{found.key}" if found.key in used else None
            return replace(found, alias=alias, apart=key is not None and at_once(found, contents, whole))
    return None


def _names(catalog: Catalog, family: Family) -> tuple[str, str] | None:
    """Which column of the entity holds numbers that a table names, by a foreign key or by its own name."""
    table = family.shapes[0].table
    for name in family.shapes[0].cell.entity:
        found = [] if is_text(table.column(name)) else candidates(catalog, table, name)
        if found and any(is_text(column) for column in found[0].table.columns):
            return name, found[0].table.qualified
    return None


def _number(table: Table) -> set[str]:
    digits = re.search(r"\d+$", table.name)
    return {str(int(digits[0]))} if digits else set()


def _owner(
    session: Session, catalog: Catalog, candidate: Candidate, column: str
) -> tuple[Owner, dict[str, str]] | None:
    """Whose the dictionary's entries are, with the name of each owner."""
    contents = look.sample(session, candidate.table, look.NAMES)
    found = owner_of(catalog, candidate, contents, column)
    if found is None:
        return None
    names = look.sample(session, found.table, look.NAMES)
    pairs = zip(names.values(found.target), names.values(found.name), strict=True)
    return found, {identifier: name or "" for identifier, name in pairs if identifier is not None}


def _head(seen: Seen, others: Sequence[Family]) -> list[str]:
    rows = sum(len(each.sample.rows) for each in seen.family.shapes)
    lines = [
        f"Proposed by `widebeam init`, which looked at the catalog and at {rows:,} rows; the comments say why. "
        f"Choices that the schema leaves open are marked {ASK} what stands here is the safe one. "
        "Next: save it as connectors/NAME.toml, then `widebeam check NAME`, `widebeam plan NAME`, `widebeam run NAME`."
    ]
    if others:
        names = ", ".join(each.shapes[0].table.qualified for each in others[:20])
        lines.append(f"There are other narrow tables, for connectors of their own (--table): {names}.")
    return lines
