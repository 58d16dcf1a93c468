"""Which column is the moment of a reading, and how it is written. Pure."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final, NamedTuple

from cdc.clock.time_text import EXAMPLE, TimeText, is_written, layout_of
from widebeam.init.facts import Column, Index, Sample, Table
from widebeam.init.words import AUDIT, NANOSECONDS, TIME, about, names_a_value, tokens, words

_WHOLE: Final = ("smallint", "integer", "bigint")
_FRACTIONS: Final = ("double precision", "real", "numeric")

_FORMS: Final = (  # form, unit, and which numbers are moments between 1990 and 2100
    ("epoch_s", "seconds", 631_152_000, 4_102_444_800),
    ("epoch_ms", "milliseconds", 631_152_000_000, 4_102_444_800_000),
    ("epoch_us", "microseconds", 631_152_000_000_000, 4_102_444_800_000_000),
    ("epoch_ns", "nanoseconds", 631_152_000_000_000_000, 4_102_444_800_000_000_000),
)
_TEXTS: Final = ("text", "character varying", "citext", "name")
_TOO_COARSE: Final = frozenset((("double precision", "epoch_ns"), *(("real", form) for form, *_ in _FORMS)))
_ISO: Final = re.compile(r"(19|20)\d\d-[01]\d-[0-3]\d([T ][0-2]\d:[0-5]\d|$)", re.ASCII)
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d{1,2})?", re.ASCII)
_ODD: Final = 0.01  # the share of odd values up to which the others tell what a column is
_ZERO: Final = re.compile(r"\.0+\D*$|\.0+[+-]")
_SHOWN: Final = 3  # odd values that are shown
_TRIED: Final = 200  # texts that may show how all are written

_CALLED: Final = TIME | words("t unix utc dt instant millis")
"""Names of a moment, with those that say so only where the values do."""

_COMMONEST: Final = {
    "integer": ("epoch_s", "it is an integer that is called like a time: seconds since 1970, most likely"),
    "bigint": ("epoch_ms", "it is a bigint that is called like a time: milliseconds since 1970, most likely"),
    "double precision": ("epoch_float", "it is called like a time: seconds since 1970, with a fraction, most likely"),
}


class Moment(NamedTuple):
    """The time columns (two for seconds and nanoseconds, none where there is no time), the form, and why."""

    columns: tuple[str, ...]
    form: str
    why: str
    guessed: bool = False
    """The table is empty: the form is the commonest one for the column's type."""
    local: bool = False
    """A timestamp without a zone: nobody can tell from the schema in which zone it is."""
    odd: str = ""
    """Values that are no moments of our years as the others are, how many of how many, and which."""
    unread: str | None = None
    """A column of moments that no `time_form` can say: it tells rows apart, and is asked about."""

    why_unread: str = ""
    """Why, and what could be done."""
    fine: bool = False
    """Some values have parts of a microsecond."""
    zero_seen: bool = True
    """It is known how a text is written whose fraction is zero."""
    end: str | None = None
    """The column with the end, where the time is the beginning of a span."""
    instead: str = ""
    """Where some rows have no time here: how many, and how the time is said that another column has then."""

    @property
    def doubt(self) -> str:
        """What its reader has to ask himself about the column; empty if nothing."""
        if self.unread is not None:
            return self.why_unread
        asked = []
        if self.odd:
            asked.append(f"should these be mended in the source? {self.odd}.")
        if not self.zero_seen:
            bare = re.sub(r"\.(f+)", r"[.\1]", self.form)
            asked.append(f'is the fraction left out where it is zero? None is in the sample. Then it is "{bare}".')
        if self.instead:
            asked.append(f"where is the time of {self.instead}")
        if self.end is not None:
            asked.append(f"are spans of time meant by their beginnings? The ends are in {self.end}; or take that.")
        return " ".join(asked)


NONE: Final = Moment((), "native", "no column looks like the moment of a reading")


def moment(table: Table, sample: Sample) -> Moment:
    """The best of the columns that could be the time; NONE if there is none."""
    scored = [(_score(table, sample, column), -at, column) for at, column in enumerate(table.columns)]
    best = max((each for each in scored if each[0] > 0), default=None)
    return _unread(table, sample) if best is None else _described(table, sample, best[2])


def _unread(table: Table, sample: Sample) -> Moment:
    """Without a time that can be said: the column that is one all the same, in several forms."""
    for column in table.columns:
        present, known = sample.present(column.name), about(column.name, _CALLED)
        if not sample.rows and column.type.partition("(")[0] in _TEXTS and about(column.name, TIME):
            why = f"{column.name} is a text that is called like a time, and the table is empty"
            ask = f'how are its times written? Then time = "{column.name}" and, say, time_form = "{EXAMPLE}".'
            return NONE._replace(why=why, unread=column.name, why_unread=ask)
        if not known or not present or len(present) < len(sample.rows) or names_a_value(column.name):
            continue
        if column.type.partition("(")[0] in (*_TEXTS, "character") and all(map(_ISO.match, present)):
            why = f"{column.name} is a text with a time in it, not always written in the same way"
            ask = (
                "can the writers fill a column of type timestamptz beside it? Name that one here. Several texts can "
                f"mean one moment: {column.name} as a part of the entity keeps all rows apart."
            )
            return NONE._replace(why=why, unread=column.name, why_unread=ask)
    return NONE


def _too_fine(column: Column, form: str) -> Moment:
    """A time that tells rows apart by less than a microsecond."""
    ask = (
        f'will microseconds do? Then time = "{column.name}" with time_form = "{form}", out of the entity, and `several`'
        ' is to say which of the rows holds that meet then ("first" or "last"). As it is, none meet.'
    )
    why = f"{column.name} has parts of a microsecond, which no timestamp has"
    return NONE._replace(why=why, unread=column.name, why_unread=ask)


def form(column: Column, values: list[str]) -> tuple[str, str] | None:
    """How moments are written in a column of this type with these values: the form and what it says, or None."""
    if _native(column.type):
        return "native", f"it is a {column.type}"
    kind = column.type.partition("(")[0]
    if kind in _TEXTS:
        layout = layout_of(values[:_TRIED], values, _ODD)
        return None if layout is None else (layout, "its texts are written so")
    if kind not in (*_WHOLE, *_FRACTIONS) or not all(map(_NUMBER.fullmatch, values)):
        return None
    numbers = [float(value) for value in values]
    for name, unit, low, high in _FORMS:
        fit = [number for number in numbers if low <= number < high]
        if not fit or len(numbers) - len(fit) > _ODD * len(numbers) or (kind, name) in _TOO_COARSE:
            continue
        if kind in _FRACTIONS and name == "epoch_s":
            return "epoch_float", "it is seconds since 1970, with a fraction"
        return name, f"its numbers are {unit} since 1970 (from {min(fit):.0f} to {max(fit):.0f})"
    return None


def _is_fine(form: str, values: list[str]) -> bool:
    """Whether some values have parts of a microsecond."""
    if form == "epoch_float":
        return any(Decimal(value) * 1_000_000 % 1 != 0 for value in values if "." in value)
    if form == "epoch_ns":
        return any(Decimal(value) % 1000 != 0 for value in values)
    way = TimeText.of(form)
    return (
        way is not None
        and way.fine
        and any(way.nanoseconds(value) % 1000 != 0 for value in values if is_written(value, way))
    )


def _odd(form: str, values: list[str]) -> str:
    """Which values are none of our years in this form: how many of how many, some of them, and what they may be."""
    way = TimeText.of(form)
    name = "epoch_s" if form == "epoch_float" else form
    low, high = next(((low, high) for each, _, low, high in _FORMS if each == name), (0, 0))
    if way is not None:
        found = [value for value in values if not is_written(value, way)]
        said = "are not written so", "; they go into the quarantine"
    else:
        found = [] if form == "native" else [value for value in values if not low <= float(value) < high]
        mixed = [unit for _, unit, low, high in _FORMS if any(low <= float(value) < high for value in found)]
        may_be = f"; they may be {' or '.join(mixed)}" if mixed else ""
        said = "are no moments of our years", f"{may_be}; each lands where its number says"
    if not found:
        return ""
    shown = ", ".join(list(dict.fromkeys(found))[:_SHOWN])
    return f"{len(found):,} of {len(values):,} values that were looked at {said[0]} ({shown}){said[1]}"


def _form(column: Column, sample: Sample) -> tuple[str, str] | None:
    """The form that the values show; of an empty table the commonest one of the column's type, if it is called so."""
    if sample.rows or _native(column.type) or not about(column.name, TIME):  # no single letter: "t" may be anything
        return form(column, sample.present(column.name))
    return _COMMONEST.get(column.type.partition("(")[0])


def _native(type_name: str) -> bool:
    return type_name == "date" or type_name.startswith("timestamp")


def _score(table: Table, sample: Sample, column: Column) -> int:
    """Above 0: it could be the time. Being part of a key weighs more than any name."""
    present = sample.present(column.name)
    if _form(column, sample) is None or names_a_value(column.name):
        return 0
    named = about(column.name, _CALLED)
    keyed = [index for index in table.indexes if column.name in index.columns and index.columns != (column.name,)]
    if not named and not _native(column.type) and not _counts_moments(column, present, keyed):
        return 0  # a large number, or a day in a text, is no moment by itself
    score = 2 + 2 * named
    score += 6 * any(index.unique for index in keyed) + 3 * bool(keyed)
    score += 1 * any(column.name in index.columns for index in table.indexes)
    score += 6 * table.unique(column.name)
    score += 2 * (tokens(column.name)[:1] == tokens(table.name)[:1] != ())
    score -= 3 * about(column.name, AUDIT)
    score -= 5 * (len(present) < len(sample.rows)) + 20 * (not present and bool(sample.rows))
    return score


def _counts_moments(column: Column, present: list[str], keyed: list[Index]) -> bool:
    """Whatever it is called: a part of a unique key whose numbers all are fine moments of our years."""
    found = form(column, present)
    fine = found is not None and (found[0] in ("epoch_ms", "epoch_us", "epoch_ns") or "HH" in found[0])
    return fine and len(set(present)) > 1 and any(index.unique for index in keyed)


def _described(table: Table, sample: Sample, column: Column) -> Moment:
    found = _form(column, sample)
    if found is None:
        raise AssertionError(f"{column.name} has a score without a form")
    name, says = found
    unique = any(index.unique and column.name in index.columns for index in table.indexes)
    never = "" if len(sample.present(column.name)) < len(sample.rows) else " that is never NULL"
    place = "it is part of a unique key" if unique else f"it is the best dated column{never}"
    beside = _nanoseconds(table, sample) if name == "epoch_s" else None
    strange = _odd(name, sample.present(column.name))
    if beside is not None:
        why = f"{says}, and {beside} holds the nanoseconds; {place}"
        return Moment((column.name, beside), "s_ns", why, guessed=not sample.rows, odd=strange)
    way, present = TimeText.of(name), sample.present(column.name)
    fine = _is_fine(name, present)
    if fine and unique:
        return _too_fine(column, name)
    guessed = not sample.rows and name != "native"
    local = column.type.endswith("without time zone") if way is None else not way.zoned
    zero_seen = way is None or not way.fixed or not way.digits or any(map(_ZERO.search, present))
    found_end = _end(table, column.name)
    return Moment(
        (column.name,),
        name,
        f"{says}, and {place}",
        guessed,
        local,
        strange,
        fine=fine,
        zero_seen=zero_seen,
        end=found_end,
        instead=_instead(table, sample, column, name),
    )


def _instead(table: Table, sample: Sample, column: Column, its: str) -> str:
    """Which column has the time of the rows that have none in this one."""
    lacking = [n for n, value in enumerate(sample.values(column.name)) if value is None]
    for other in table.columns if lacking and TimeText.of(its) is None else ():
        values = sample.values(other.name)
        found = form(other, sample.present(other.name)) if other.name != column.name else None
        if found is None or TimeText.of(found[0]) is not None or names_a_value(other.name):
            continue
        if all(values[n] is not None for n in lacking):
            forms = "" if found[0] == its == "native" else f' with time_form = ["{its}", "{found[0]}"]'
            return (
                f"{len(lacking):,} of {len(values):,} rows that were looked at, which have none in {column.name}: is it"
                f' {other.name}? Then set time = ["{column.name}", "{other.name}"]{forms}, and several = "last". Rows '
                "without a time go into the quarantine."
            )
    return ""


def _end(table: Table, begin: str) -> str | None:
    """The column that is called like the end of what this one begins."""
    names = {tokens(column.name): column.name for column in table.columns}
    ends = {"start": "end", "begin": "end", "from": "to"}
    return names.get(tuple(ends.get(word, word) for word in tokens(begin))) if ends.keys() & {*tokens(begin)} else None


def _nanoseconds(table: Table, sample: Sample) -> str | None:
    for column in table.columns:
        called = column.name.lower() in NANOSECONDS and column.type in _WHOLE
        if called and all(0 <= int(value) < 10**9 for value in sample.present(column.name)):
            return column.name
    return None
