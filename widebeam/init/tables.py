"""Which narrow tables a connector reads, as a proposal names them. Pure."""

from __future__ import annotations

import os
import re
from typing import Final

from cdc.source.table_name import TableName
from widebeam.init.document import Section
from widebeam.init.facts import Inheritance
from widebeam.init.seen import Seen

_NAMED: Final = 5
_NUMBERS: Final = re.compile(r"\d+(_\d+)*_?$")


def tables(source: Section, seen: Seen) -> None:
    """The options that name them, with what is to be asked."""
    shapes = seen.family.shapes
    names = [shape.table.qualified for shape in shapes]
    rows = f"about {seen.family.rows:,} rows"
    tree = shapes[0].table.inheritance
    if tree is not None and not seen.family.by_name:
        _heirs(source, tree, names, rows)
    elif len(shapes) == 1 and seen.family.numbered and not shapes[0].table.partitioned:
        source.set(
            "tables",
            [_pattern(seen)],
            f"{names[0]}: {rows}. Its name ends in a month: those of other months join by themselves.",
        )
    elif len(shapes) == 1:
        parted = ", partitioned: its partitions come under its own name" if shapes[0].table.partitioned else ""
        source.set("table", names[0], f"{names[0]}: {rows}{parted}.", _alike(names[0], seen.alike))
    elif seen.family.numbered:
        source.set(
            "tables",
            [_pattern(seen)],
            f"{len(names)} tables of the same columns whose names differ by numbers ({_some(names)}), {rows}. "
            "New ones that match join by themselves.",
            _whole(seen),
        )
    elif seen.family.by_name:
        _tables_of_any_name(source, seen, names, rows)
        return
    else:
        source.set("tables", names, f"{len(names)} tables of the same shape, one for each type of value, {rows}.")
    if seen.family.by_name:
        source.set(
            "table_pattern",
            rf"^{_prefix([shape.table.name for shape in shapes])}0*(\d+)$",
            "What is measured is said by a table's name alone: its number. Tables of other names do not count.",
        )


def _tables_of_any_name(source: Section, seen: Seen, names: list[str], rows: str) -> None:
    source.set(
        "tables",
        [TableName(seen.shape.table.schema, "%").text],
        f"{len(names)} tables of the same columns, one for each thing that is measured ({_some(names)}), {rows}. "
        "New ones join by themselves; a table without these columns is none of them.",
        "are there tables with these columns and more that mean something else? Then list those that you want.",
    )
    named = seen.dictionary is not None
    source.set(
        "table_pattern",
        r"(?:^|\D)0*(\d+)$" if named else "^(.+)$",
        "What is measured is said by a table's name alone: "
        f"{'the number at its end, which the dictionary below has a name for' if named else 'all of it'}.",
    )


def _heirs(source: Section, tree: Inheritance, names: list[str], rows: str) -> None:
    """Inheritance children: the application sees their rows by their parent, and the log has them under their names."""
    others = [each.text for each in tree.ends if each.text not in names]
    why = (
        f"{_some(names)}: {rows}. {tree.root} is the parent by inheritance, and changes come under the "
        "children's names. "
        "Rows of the parent's own would be left out; `widebeam check` says whether there are any."
    )
    if tree.pattern is not None and not others:
        source.set("tables", [tree.pattern], f"{why} New children that match join by themselves.")
        return
    ask = (
        f"do these belong here, too, which inherit as well: {', '.join(others[:10])}? Then add them." if others else ""
    )
    source.set("tables", names, why, ask)


def _alike(name: str, others: tuple[str, ...]) -> str:
    """What to ask oneself where tables whose names have nothing in common have the same columns."""
    if not others:
        return ""
    all_of_them = " ".join(f"--table {each}" for each in (name, *others[:_NAMED]))
    more = f", and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return (
        f"are {', '.join(others[:_NAMED])}{more}, with the same columns, of the same kind (a table for each device)? "
        f"Then `widebeam init {all_of_them}` proposes one connector for all."
    )


def _whole(seen: Seen) -> str:
    """What to ask oneself where the numbers in the tables' names may say more than when."""
    if seen.apart or seen.family.by_name or seen.family.by_months:
        return ""
    return (
        'is each table another thing\'s (a device\'s)? Then table_pattern = "^(.+)$" and "table" in `entity`. In the '
        "sample no key has readings in two of them at the same time."
    )


def _pattern(seen: Seen) -> str:
    named = [shape.table for shape in seen.family.shapes]
    return TableName(named[0].schema, f"{_prefix([table.name for table in named])}%").text


def _prefix(names: list[str]) -> str:
    """What the names have in common before their numbers."""
    return _NUMBERS.sub("", os.path.commonprefix(names))  # noqa: RUF071  names, no paths


def _some(names: list[str]) -> str:
    shown = [TableName.of(name).name for name in names]
    return ", ".join(shown if len(shown) < 4 else [*shown[:2], "...", shown[-1]])
