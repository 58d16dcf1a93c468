"""Preconditions of the mapping: tables of one shape, columns of fitting types, and names that mean one thing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql

from cdc.clock.time_text import EXAMPLE, TimeText
from cdc.halt import Halt
from cdc.source.described import describe
from sink import lookup
from widebeam.config import catalog
from widebeam.config.connector import Connector
from widebeam.finding import Finding
from widebeam.init.readings import TEXTS

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_WHOLE: Final = ("smallint", "integer", "bigint", "numeric")
_FRACTION: Final = ("double precision", "real", "numeric")
_WRITTEN: Final = ("text", "character varying", "citext", "name")


def tables_match(session: Session, connector: Connector) -> Iterator[Finding]:
    """At least one table, and every one that is named whole belongs."""
    place = f"set `tables` in [source] of {connector.file}"
    if not catalog.narrow_tables(session, connector):
        patterns = ", ".join(map(str, connector.patterns))
        yield Finding(f"no table matches {patterns}", "", f"{place} to tables that are there")
    for pattern in connector.patterns:
        if "%" not in pattern.name and connector.family.narrow(*pattern) is None:
            yield Finding(
                f"{pattern} does not match `table_pattern` {connector.options.source.table_pattern!r}",
                "",
                f"{place} to tables that it matches, or mend the pattern",
            )


def alike(session: Session, connector: Connector) -> Iterator[Finding]:
    """Several tables have the same types of entity and time."""
    try:
        catalog.alike(connector, connector.family, catalog.sources(session, connector))
    except Halt as halt:
        if _are_there(session, connector):  # else another check says so, with its own remedy
            yield Finding(halt.what, "", halt.remedy)


def column_types(session: Session, connector: Connector) -> Iterator[Finding]:
    """Time, labels and texts that are numbers have the types that the options speak of."""
    source = connector.options.source
    for table in catalog.narrow_tables(session, connector):
        try:
            types = describe(session, table).types
        except Halt:
            continue
        for name, form in zip(source.time, source.alternatives or source.time_forms * 2, strict=False):
            zoned = source.time_zone is not None and form == "native"
            wanted = _time_types(form, zoned=zoned)
            if not _is(types[name], wanted):
                option = "time_zone" if zoned else "time_form"
                yield Finding(
                    f"{table.qualified}.{name} is a {types[name]}, and `{option}` is for {' or '.join(wanted)}",
                    "",
                    f"set `time_form` and `time_zone` in [source] of {connector.file}: {_meant(types[name])}",
                )
        if source.labels is not None and types[source.labels] not in ("jsonb", "json"):
            what = f"`labels` {source.labels} of {table.qualified} is a {types[source.labels]}, not a jsonb"
            yield Finding(what, "", f"set `labels` in [source] of {connector.file} to a jsonb column")
        for name in source.value.numbers:
            if not _is(types[name], TEXTS):
                what = f"`numbers` {name} of {table.qualified} is a {types[name]}: it needs no reading of texts"
                yield Finding(what, "", f"take {name} out of `numbers` in [source.value] of {connector.file}")


def dictionary(session: Session, connector: Connector) -> Iterator[Finding]:
    """A dictionary that can be read, names each id once, and, where cells may not meet, each name once."""
    rule = connector.family.rule(connector.table, {}).dictionary
    given = connector.options.source.dictionary
    if rule is None or given is None:
        return
    where = f"[source.dictionary] of {connector.file}"
    try:
        rows = _read(session, rule.query)
    except psycopg.Error as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        yield Finding(
            f"the dictionary cannot be read: {said}",
            "",
            f"mend `query` in {where} (each table with its schema, as in public.names), or grant SELECT on its tables",
        )
        return
    if any(len(row) != len(rule.names) + 1 for row in rows[:1]):
        yield Finding(
            f"the dictionary's query brings {len(rows[0])} columns: the id and {', '.join(rule.names)} are expected",
            "",
            f"name the columns after the id in `columns` of {where}",
        )
        return
    twice = _repeated(row[0] for row in rows if row[0] is not None)
    if twice:
        yield Finding(
            f"the dictionary names {len(twice)} ids more than once: {_some(twice)}",
            "",
            f"a WHERE in `query` of {where} that leaves one name for each id",
        )
    yield from _two_ids_one_name(connector, rows, rule.names)


def _two_ids_one_name(
    connector: Connector, rows: list[tuple[str | None, ...]], names: tuple[str, ...]
) -> Iterator[Finding]:
    """Two keys for one column: their readings would meet in cells."""
    source = connector.options.source
    used = [place for place, name in enumerate(names, 1) if name in (*source.key, *source.entity)]
    by_itself = source.dictionary is not None and source.dictionary.column in (*source.key, *source.entity)
    if source.several != "refuse" or not used or by_itself:
        return
    by_id = {row[0]: tuple(row[place] for place in used) for row in rows}
    twice = _repeated("/".join(str(part) for part in each) for each in by_id.values())
    if twice:
        yield Finding(
            f"{len(twice)} names stand for more than one id, whose readings would share a column: {_some(twice)}",
            "",
            f'a WHERE in `query` of [source.dictionary] that leaves one of them, or several = "last" in [source] '
            f"of {connector.file}",
        )


def _read(session: Session, query: str) -> list[tuple[str | None, ...]]:
    """The dictionary's rows, as the server prints them."""
    result = session.execute(sql.SQL("SELECT * FROM ({}) AS dictionary").format(lookup.statement(query))).pgresult
    if result is None:
        return []
    places = range(result.nfields)
    return [
        tuple(None if (value := result.get_value(n, at)) is None else value.decode() for at in places)
        for n in range(result.ntuples)
    ]


def _are_there(session: Session, connector: Connector) -> bool:
    """Whether every table has every mapped column."""
    try:
        for table in catalog.narrow_tables(session, connector):
            describe(session, table)
    except Halt:
        return False
    return bool(catalog.narrow_tables(session, connector))


def _time_types(form: str, *, zoned: bool) -> tuple[str, ...]:
    if TimeText.of(form) is not None:
        return _WRITTEN
    if zoned:
        return ("timestamp without time zone",)
    match form:
        case "native":
            return ("timestamp without time zone", "timestamp with time zone", "date")
        case "epoch_float":
            return _FRACTION
        case "epoch_ms" | "epoch_us":
            return (*_WHOLE, "double precision")
        case _:
            return _WHOLE


def _is(type_name: str, wanted: tuple[str, ...]) -> bool:
    """Whether a type is one of these, whatever its precision: timestamp(3) is a timestamp."""
    bare, _, rest = type_name.partition("(")
    return (bare + rest.partition(")")[2]) in wanted


def _meant(type_name: str) -> str:
    """The options that a column of this type could want."""
    if _is(type_name, _time_types("native", zoned=False)):
        return 'leave time_form out, and time_zone, too, if the column is a "timestamp with time zone"'
    if _is(type_name, _FRACTION[:2]):
        return 'time_form = "epoch_float"'
    if _is(type_name, _WHOLE):
        return 'time_form = "epoch_s", "epoch_ms", "epoch_us", "epoch_ns" or "s_ns"'
    if _is(type_name, _WRITTEN):
        return f'time_form = "{EXAMPLE}", as its texts are written'
    return "another column"


def _repeated(values: Iterator[str]) -> list[str]:
    return sorted(value for value, count in Counter(values).items() if count > 1)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def keys_apart(_: Session, connector: Connector) -> Iterator[Finding]:
    """Keys of several parts, or of several measures, are told apart by what joins them."""
    source = connector.options.source
    if len(source.key) > 1 and not source.key_separator:
        yield Finding(
            "with an empty `key_separator` the keys (ab, c) and (a, bc) would be one column",
            "",
            f'key_separator = "/" in [source] of {connector.file}, or any other text',
        )
    names, joined = (source.value.names if source.value.measures else ()), source.value.measure_separator
    alike = [(one, other) for one in names for other in names if one != other and one.endswith(joined + other)]
    for one, other in alike:
        yield Finding(
            f"a reading of {one} and one of {other} could be in one column: a key and its measure are joined by "
            f"`measure_separator` {joined!r}, and {one} ends with that and {other}",
            "",
            f'measure_separator = ":" in [source.value] of {connector.file}, or any other text that ends no name so',
        )


CHECKS: Final = (keys_apart, tables_match, alike, column_types, dictionary)
