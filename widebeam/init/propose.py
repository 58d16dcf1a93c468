"""From a family of narrow tables to the sections of a connector file."""

from __future__ import annotations

from typing import Final

from psycopg import sql

from widebeam.init.dictionary import Dictionary, Owner
from widebeam.init.document import Section
from widebeam.init.readings import is_text, numbers, sentinels
from widebeam.init.seen import Seen
from widebeam.init.shape import Family, Shape
from widebeam.init.source import source_section
from widebeam.init.words import qualifies_a_value

_NUMBERED: Final = ("smallint", "integer", "bigint", "numeric")

FEW: Final = 50
"""Entities up to which each gets a table of its own, if they are more than numbers."""


def sections(seen: Seen) -> list[Section]:
    """The file's sections."""
    return [source_section(seen), *_dictionary(seen), _value(seen), _target(seen), _kafka(), _sink(seen)]


def _dictionary(seen: Seen) -> list[Section]:
    found = seen.dictionary
    if found is None:
        return []
    made = Section("source.dictionary")
    made.set(
        "column", found.column, f"{found.candidate.why}; it is read again while running, and at once for an unknown id."
    )
    narrowed = (
        f" The conditions leave one name for each id: {', '.join(f'{c} = {v}' for c, v in found.only)}."
        if found.only
        else ""
    )
    ask = "is this the language, or kind, of names that you want?" if found.only else ""
    made.set("query", _query(found), f"Ids, and their names as columns.{narrowed}", ask)
    return [made]


def _query(found: Dictionary) -> str:
    """The id first, then the names that become virtual columns."""
    table = found.candidate.table
    fields: list[sql.Composable] = [sql.SQL("d.{}").format(sql.Identifier(found.candidate.id))]
    fields.append(_field(sql.SQL("d"), found.key, found.shown))
    join: sql.Composable = sql.SQL("")
    owner = found.owner
    if owner is not None and found.named:
        fields.append(_field(sql.SQL("o"), owner.name, owner.shown(found.key)))
        join = _join(owner)
    elif owner is not None:
        fields.append(sql.SQL("d.{}").format(sql.Identifier(owner.column)))
    return (
        sql.SQL("SELECT {} FROM {} d{}{}")
        .format(sql.SQL(", ").join(fields), sql.Identifier(table.schema, table.name), join, _where(found))
        .as_string(None)
    )


def _field(table: sql.SQL, column: str, shown: str) -> sql.Composable:
    alias = sql.SQL("") if shown == column else sql.SQL(" AS {}").format(sql.Identifier(shown))
    return sql.SQL("{}.{}{}").format(table, sql.Identifier(column), alias)


def _join(owner: Owner) -> sql.Composable:
    return sql.SQL(" JOIN {} o ON o.{} = d.{}").format(
        sql.Identifier(owner.table.schema, owner.table.name), sql.Identifier(owner.target), sql.Identifier(owner.column)
    )


def _where(found: Dictionary) -> sql.Composable:
    if not found.only:
        return sql.SQL("")
    conditions = (sql.SQL("d.{} = {}").format(sql.Identifier(c), sql.Literal(v)) for c, v in found.only)
    return sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(conditions))


def _value(seen: Seen) -> Section:
    shape, made = seen.shape, Section("source.value")
    found = shape.readings
    beside = [name for name in found.left_out if name != found.discriminator]
    left = f" Not taken, because they only say something about it: {', '.join(beside)}." if beside else ""
    if found.discriminator is not None:
        doubtful = [name for name in beside if not qualifies_a_value(name)]
        made.set(
            "discriminator",
            found.discriminator,
            f"Which column holds the reading: {found.why}.{left}",
            f"is a reading in {', '.join(doubtful)}, too? Then that needs a connector of its own." if doubtful else "",
        )
        made.set(
            "columns", dict(found.choices), "A value that is not listed here sends its reading into the quarantine."
        )
        return made
    why = f"The reading: {found.why}.{left}"
    made.set(
        "columns",
        list(found.columns),
        why if found.measures or len(found.columns) == 1 else f"{why} The first that is set counts.",
    )
    if found.measures:
        made.set(
            "measures",
            True,
            "Each value column that is not NULL is a reading of its own: the key, a dot and its name.",
            "does one of them only repeat another, as a text? Then leave that one out of `columns`.",
        )
    _texts(made, seen.family, shape)
    return made


def _numbers(family: Family, shape: Shape) -> list[str]:
    """The value columns whose texts are numbers as a rule."""
    texts = all(is_text(each.table.column(name)) for each in family.shapes for name in shape.readings.columns)
    return list(numbers(shape.sample, shape.readings.columns, shape.cell.key)) if texts else []


def _texts(made: Section, family: Family, shape: Shape) -> None:
    key, columns = shape.cell.key, _numbers(family, shape)
    if not columns:
        return
    made.set(
        "numbers",
        columns,
        "Texts of which some keys are all numbers: those keys become double precision, and the others text "
        "(`type_conflict`, below), in which a number stands as it is printed: 1.50 as 1.5.",
        "must every digit stay as it was written? Then leave this out.",
    )
    words = sentinels(shape.sample, columns, key)
    if words:
        made.set("nulls", list(words), "Words that stand beside numbers and mean that there is none.")


def _target(seen: Seen) -> Section:
    made = Section("target")
    made.set(
        "dsn",
        seen.dsn,
        "Where the wide tables go: the schema `wide` here; Widebeam's own state is beside it.",
        "into the same database? That is the simplest; another one takes the load of the readers off it.",
    )
    by_table = seen.apart and seen.shape.time.columns
    layout, why, ask = _of_tables(seen) if by_table else _layout(seen)
    made.set("layout", layout, why, ask)
    return made


def _layout(seen: Seen) -> tuple[str, str, str]:
    entity, table = seen.entity, seen.shape.table
    if not entity:
        return "single", "There is no entity: one table holds all.", ""
    if not seen.shape.time.columns:
        return "single", "A row for each entity needs one table for all of them.", ""
    real = {column.name for column in table.columns}
    if seen.dictionary is not None and not set(entity) <= real:
        few, said = 0 < seen.dictionary.owners <= FEW, f"there are {seen.dictionary.owners} of them"
        if few and seen.dictionary.named:
            return (
                "per_entity",
                f"A table for each entity: {said}, with names.",
                'would one table for all serve you better? Then "single".',
            )
        return (
            "single",
            f"One table for all entities: {said}.",
            'would a table for each serve you better? Then "per_entity".',
        )
    count = len(set(zip(*map(seen.shape.sample.values, entity), strict=True)))
    said = f"the sample has {count} different ones"
    numbered = any(table.column(name).type.partition("(")[0] in _NUMBERED for name in entity)
    if not numbered and 0 < count <= FEW:
        return (
            "per_entity",
            f"A table for each entity: {said}.",
            'would one table for all serve you better? Then "single".',
        )
    reason = f"{said}, and they are numbers: poor names for tables" if numbered else said
    return (
        "single",
        f"One table for all entities: {reason}.",
        'would a table for each serve you better? Then "per_entity".',
    )


def _of_tables(seen: Seen) -> tuple[str, str, str]:
    count = len(seen.family.shapes)
    if seen.entity == ("table",) and count <= FEW:
        ask = 'would one table for all serve you better? Then "single".'
        return "per_entity", f"A table for each entity: there are {count} of them.", ask
    ask = 'would a table for each serve you better? Then "per_entity".'
    return "single", f"One table for all entities: there are {count} narrow tables with some in each.", ask


def _kafka() -> Section:
    made = Section("kafka")
    made.show(
        "bootstrap_servers",
        "127.0.0.1:9092",
        "Without Kafka the write-ahead log is the log; with it, there is replay, and room for other consumers.",
    )
    return made


def _sink(seen: Seen) -> Section:
    made = Section("sink")
    if _numbers(seen.family, seen.shape):
        made.set("type_conflict", "widen", "The column of a key whose texts are not all numbers is a text.")
    made.show("unknown_key", "add_column", "A new key gets a column while running; or choose overflow, or reject.")
    made.show(
        "on_delete",
        "clear",
        "A deleted reading is cleared.",
        'does somebody purge old rows of the narrow table? "ignore" lets the wide history outlive them.',
    )
    return made
