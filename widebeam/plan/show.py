"""A plan as text. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from sink.mapping.width import ROW_BYTES
from sink.wide.column_limits import TOO_MANY
from widebeam.counted import counted
from widebeam.plan.plan import Plan

_SHOWN = 20
_EXAMPLES = 5
_LONGEST = 80


def text(plan: Plan) -> str:
    """The plan for a reader: what was looked at, what comes of it, and what it takes."""
    return "\n".join([*_sources(plan), *_tables(plan), *_names(plan), *_misfits(plan), *_costs(plan), *_changes(plan)])


def _sources(plan: Plan) -> Iterator[str]:
    yield f"{plan.connector}: about {counted(plan.rows, 'narrow row')}"
    for source in plan.sources[:_SHOWN]:
        yield f"  {source.table}: about {counted(source.rows, 'row')}, looked at {source.how}"
    yield from _more(len(plan.sources))


def _tables(plan: Plan) -> Iterator[str]:
    types = ", ".join(f"{count:,} {name}" for name, count in sorted(plan.types.items(), key=lambda each: -each[1]))
    yield f"wide tables: {len(plan.tables):,} for {counted(plan.entities, 'entity')} and {counted(plan.keys, 'key')}"
    yield f"columns: {types or 'none'}; judged by {plan.readings:,} readings (--json has those of each key)"
    if plan.partition_by is not None:
        yield f"each is partitioned by {plan.partition_by}; a partition is made before its first reading comes"
    for table in plan.tables[:_SHOWN]:
        state = f"{table.new_columns} new" if table.made else "new"
        bytes_ = f"a row of {table.row_bytes:,} bytes at most, of {ROW_BYTES:,}"
        bytes_ += f", pages {table.fillfactor} % full at first"
        group = f", group {table.group} in the view {table.group_view}" if table.group else ""
        yield f"  {table.name}: {counted(table.columns, 'column')} ({state}), {bytes_}{group}"
    yield from _more(len(plan.tables))


def _names(plan: Plan) -> Iterator[str]:
    for table in plan.tables[:_SHOWN]:
        if table.instead_of is not None:
            yield f"names: {table.view}, since there is a {table.instead_of} that is not of this connector"
    if plan.renamed:
        yield f"names: {counted(len(plan.renamed), 'column')} with another name than the key"
        for each in plan.renamed[:_EXAMPLES]:
            yield f"  {_short(each.key)} -> {each.column}: {each.why}"
        yield from _more(len(plan.renamed), _EXAMPLES)


def _misfits(plan: Plan) -> Iterator[str]:
    if plan.conflicts:
        odd = counted(len(plan.conflicts), "key")
        yield f"types: {odd} with readings that do not fit the column; see `type_conflict`"
        for each in plan.conflicts[:_EXAMPLES]:
            yield f"  {_short(each.key)}: {each.type}, and {', '.join(each.others)}"
        yield from _more(len(plan.conflicts), _EXAMPLES)
    for reason, keys in plan.refused.items():
        shown = ", ".join(_short(key) for key in keys[:_EXAMPLES])
        remedy = ": raise columns_per_table in [sink]" if reason == TOO_MANY else ""
        yield f"quarantine: {counted(len(keys), 'key')} without a column ({reason}{remedy}): {shown}"
    for reason, (count, example) in plan.unplaced.items():
        yield f"quarantine: {count:,} of the rows that were looked at have no place ({reason}): {example}"


def _costs(plan: Plan) -> Iterator[str]:
    yield f"backfill: {counted(plan.chunks, 'chunk')}, about {plan.seconds:,.0f} s"
    for source in [each for each in plan.sources if each.index is not None][:_SHOWN]:
        yield f"  {source.table}: each chunk reads all of it, since no index begins with its time: {source.index}"
    yield f"disk: about {_size(plan.disk_bytes)} for about {counted(plan.wide_rows, 'wide row')}"


def _changes(plan: Plan) -> Iterator[str]:
    if plan.changed:
        yield "different from what is made:"
        yield from (f"  {line}" for line in plan.changed)
    elif any(table.made for table in plan.tables):
        yield "all of it is made"


def _more(count: int, shown: int = _SHOWN) -> Iterator[str]:
    if count > shown:
        yield f"  ... and {count - shown:,} more (--json has all)"


def _short(key: str) -> str:
    """A key as it can stand in a line."""
    return key if len(key) <= _LONGEST else f"{key[: _LONGEST // 2]}...{key[-_LONGEST // 2 :]}"


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:,.0f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"
