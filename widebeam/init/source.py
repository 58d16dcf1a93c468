"""The section [source] of a proposal: what names a cell in them. Pure."""

from __future__ import annotations

from sink.mapping.rule import IS_NOT_NULL
from widebeam.init.document import Section
from widebeam.init.readings import Filter, filters
from widebeam.init.seen import Seen
from widebeam.init.shape import Shape
from widebeam.init.tables import tables
from widebeam.init.words import ENTITY, KEY, SOFT_DELETE, UNIT, about, tokens


def source_section(seen: Seen) -> Section:
    """[source] without its sub-sections."""
    source = Section("source")
    source.set(
        "dsn", seen.dsn, "Passwords do not belong in here: WIDEBEAM_SOURCE__PASSWORD, `password_file` or PGPASSFILE."
    )
    tables(source, seen)
    _entity(source, seen)
    _time(source, seen.shape)
    _key(source, seen)
    _where(source, seen.shape)
    _several(source, seen)
    return source


def _entity_of_tables(source: Section, seen: Seen) -> None:
    source.set("table_pattern", "^(.+)$", "The virtual column `table` is a table's whole name.")
    rest = f", with {', '.join(seen.entity[1:])}" if len(seen.entity) > 1 else ""
    source.set(
        "entity",
        list(seen.entity),
        f"Whose reading it is: its table's name says it{rest}, since the same keys have readings at the same times in "
        "several of the tables. So nothing of two tables meets in one row.",
        'are they parts of one thing, with no reading twice? Then leave "table" out.',
    )


def _entity(source: Section, seen: Seen) -> None:
    own = seen.shape.cell.entity
    if seen.apart:
        _entity_of_tables(source, seen)
    elif own:
        doubt = seen.shape.cell.doubt or _without_names(seen)
        source.set("entity", list(own), f"Whose reading it is: {seen.shape.cell.why_entity}.", doubt)
    elif seen.entity and seen.dictionary is not None and seen.dictionary.owner is not None:
        owner = seen.dictionary.owner
        ask = (
            ""
            if seen.dictionary.named
            else f"will the id do? {owner.table.qualified}.{owner.name} is not unique, so that two could be confused."
        )
        source.set(
            "entity",
            list(seen.entity),
            "Whose reading it is comes with the key: each entry of the dictionary belongs to one of "
            f"{owner.table.qualified}.",
            ask,
        )
    else:
        ask = "are some of the fields the name of a thing (host, instance)? Name those here, and the rest as the key."
        why = seen.shape.cell.why_entity if seen.shape.cell.key is None else "there is only what is measured, and when"
        source.set(
            "entity",
            [],
            f"No entity: {why}. One wide table holds all, a row for each moment.",
            ask if seen.shape.cell.labels else seen.shape.cell.doubt,
        )


def _without_names(seen: Seen) -> str:
    """What to ask about an entity of numbers that have names."""
    if seen.names is None:
        return ""
    column, table = seen.names
    if seen.dictionary is not None:
        return (
            f"do you want the names that {table} has for {column}? A connector has one dictionary, which names the key "
            "here: join that table where the wide ones are read. By the numbers nothing is mixed up."
        )
    return f"do you want the names that {table} has for {column}? See [source.dictionary]; a name may be there twice."


def _time(source: Section, shape: Shape) -> None:
    time = shape.time
    name = time.columns[0] if len(time.columns) == 1 else list(time.columns)
    source.set(
        "time",
        name,
        f"When: {time.why}." if time.columns else f"No time: {time.why}; a wide row is an entity as it is.",
        time.doubt,
    )
    if time.form != "native":
        ask = "the table is empty: is this how its times are written? Others are epoch_s, epoch_ms, epoch_us."
        kind = "timestamp without time zone" if time.local else "timestamptz"
        source.set("time_form", time.form, f"The wide tables get a {kind} of it.", ask if time.guessed else "")
    if time.local:
        source.show(
            "time_zone",
            "Europe/Oslo",
            f"{time.columns[0]} has no zone and stays as it is.",
            "is it local time? Name its zone, and the wide tables get a timestamptz, the same moment for everybody.",
        )


def _key(source: Section, seen: Seen) -> None:
    cell = seen.shape.cell
    if seen.dictionary is not None:
        shown = seen.dictionary.column
        if seen.dictionary.apart:
            some = ", ".join(seen.dictionary.many_to_one[:3])
            source.set(
                "key",
                [seen.dictionary.shown, shown],
                f"Of what: {shown} holds numbers, and the dictionary below has their names. Several ids have one name "
                f"({some}), and readings at the same times: so the number is a part of the key, and none is lost.",
                "does another column of the dictionary tell them apart? Then take it into `query`, and here for the "
                "number.",
            )
            return
        source.set(
            "key",
            seen.dictionary.shown,
            f"Of what: {shown} holds numbers, and the dictionary below has their names.",
            _mixed(seen.shape, seen.dictionary.shown),
        )
    elif cell.key is not None:
        ask = (
            "is there a table that names these numbers? None was found; with one, see [source.dictionary]."
            if seen.shape.table.column(cell.key).type in ("smallint", "integer", "bigint", "uuid")
            else _exchanged(seen)
        )
        ask = _mixed(seen.shape, cell.key) or ask
        source.set("key", cell.key, f"Of what: {cell.why_key}. Each of its values becomes a column.", ask)
    elif cell.labels is not None:
        source.set("labels", cell.labels, "A jsonb column whose fields can be named in `entity` and `key`.")
        source.set(
            "key",
            "labels.*",
            f"Of what: {cell.why_key}. The safe choice: two series can never meet in one column.",
            'are fewer fields enough? They make shorter names: key = ["__name__", "device"], joined by key_separator.',
        )
    else:
        source.set(
            "key",
            "table",
            "Of what: the number in the table's name. No table was found that names the numbers."
            if seen.family.numbered
            else "Of what: the table's name.",
        )


def _mixed(shape: Shape, key: str) -> str:
    """What to ask where a column says in what unit a reading is, and one key has several."""
    names = (*shape.cell.entity, shape.cell.key or "", *shape.time.columns)
    for column in shape.table.columns:
        if tokens(column.name)[-1:] not in UNIT or column.name in names or shape.cell.key is None:
            continue
        found = [{*units} for _, units in shape.sample.groups(shape.cell.key, column.name)]
        mixed = next((units for units in found if len(units) > 1), None)
        if mixed is not None:
            return (
                f"readings of one {key} are in several units ({', '.join(sorted(mixed)[:3])}): are they to share a "
                f'column? Else key = ["{key}", "{column.name}"]; `widebeam check` says what that takes.'
            )
    return ""


def _exchanged(seen: Seen) -> str:
    """Where the names of two columns do not tell which is which."""
    key, entity = seen.shape.cell.key or "", seen.shape.cell.entity
    if not entity or about(key, KEY) or any(about(name, ENTITY) for name in entity):
        return ""
    return f"is it this that is measured, and {entity[0]} that it is measured at? Else exchange them."


def _where(source: Section, shape: Shape) -> None:
    found = filters(shape.table, shape.sample)
    sure = [each for each in found if each.sure]
    if sure:
        ask = [each for each in sure if not about(each.column, SOFT_DELETE)]
        source.set(
            "where",
            {each.column: list(each.values) for each in sure},
            f"Rows that count; others are as if they were not there: {_reasons(sure)}.",
            "do other codes count, too? Add them, or leave this line out to take every reading." if ask else "",
        )
    unsure = [each for each in found if not each.sure]
    if shape.cell.nullable is not None:
        why = f"rows without {shape.cell.nullable} name no cell"
        unsure.append(Filter(shape.cell.nullable, (IS_NOT_NULL,), why, sure=False))
    if unsure:
        source.show(
            "where",
            {each.column: list(each.values) for each in unsure},
            f"Every row counts. {_reasons(unsure)[:1].upper()}{_reasons(unsure)[1:]}.",
            "should only some of them count? Then name those.",
        )


def _reasons(found: list[Filter]) -> str:
    return ", and ".join(each.why for each in found)


def _several(source: Section, seen: Seen) -> None:
    fine = seen.shape.time.fine
    if not (seen.merged or fine) or seen.shape.time.unread is not None:
        return  # without a time none is the last
    reasons = []
    if not seen.shape.cell.unique:
        reasons.append("no unique key says that a cell is one row")
    if fine:
        reasons.append("times have parts of a microsecond, and are rounded if rows may meet")
    if seen.dictionary is not None and seen.dictionary.many_to_one:
        some = ", ".join(seen.dictionary.many_to_one[:3])
        reasons.append(f"several ids have one name ({some}), so they fill one column")
    source.set(
        "several",
        "refuse",
        f"Several rows could be one cell: {', and '.join(reasons)}. None is passed over unless you say so.",
        'which of them is to hold? "last": the latest, as a correction wants it; "first": the earliest. With "refuse" '
        "`widebeam check` says what it takes that none meet.",
    )
    order = _order(seen)
    if order:
        source.show("order_by", order, "Which of them is the last: the time first, then this.")


def _order(seen: Seen) -> list[str]:
    table, cell = seen.shape.table, seen.shape.cell
    counters = sorted(table.surrogates & {column.name for column in table.columns if column.counter})
    if counters:
        return counters[:1]
    alone = [index.columns[0] for index in table.indexes if index.primary and len(index.columns) == 1]
    if alone and alone[0] not in seen.shape.time.columns:
        return alone
    return [cell.key] if cell.key is not None and seen.dictionary is not None else []
