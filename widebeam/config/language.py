"""The mapping language: what [source] says becomes the narrow table that is carried and the rule that reads it.

Names in `entity` and `key` are real columns but for those that the dictionary brings, `table` where there is a
`table_pattern`, and the fields of `labels`: those are written labels.host; where no name of the key is written so, all
of them are fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Mapping as Dict
from dataclasses import dataclass

from cdc.clock.time_text import TimeText
from cdc.source.narrow import NarrowTable
from cdc.source.table_name import TableName
from cdc.source.time_encoding import TimeForm, TimeRule
from sink.mapping.rule import TABLE, DictionaryRule, Rule
from widebeam.config.options.source import Source
from widebeam.config.options.span import bucket as bucket_of


@dataclass(frozen=True, slots=True)
class Tables:
    """The family of narrow tables that [source] describes."""

    source: Source

    def narrow(self, schema: str, name: str) -> NarrowTable | None:
        """The narrow table of that name; None if it does not belong."""
        return narrow(self.source, schema, name) if belongs(self.source, schema, name) else None

    def rule(self, table: NarrowTable, types: Dict[str, str]) -> Rule:
        """How it is read, with its columns' types as format_type writes them."""
        return rule(self.source, table, types)


def narrow(source: Source, schema: str, name: str) -> NarrowTable:
    """A narrow table: the real columns that the mapping needs, each once."""
    virtual = _virtual(source)
    entity = tuple(each for each in source.entity if _bare(source, each) not in virtual)
    taken = {*entity, *source.time}
    key = tuple(each for each in dict.fromkeys(_behind_the_key(source, virtual)) if each not in taken)
    discriminator = () if source.value.discriminator is None else (source.value.discriminator,)
    more = (*discriminator, *source.where, *source.order_by)
    extra = tuple(each for each in dict.fromkeys(more) if each not in {*taken, *key, *source.value.names})
    rule = time_rule(source, {})
    return NarrowTable(
        schema, name, entity, tuple(source.time), key, source.value.names, extra, rule if rule.merges else None
    )


def rule(source: Source, table: NarrowTable, types: Dict[str, str]) -> Rule:
    """How one narrow table is read."""
    value, dictionary = source.value, source.dictionary
    return Rule(
        table,
        types,
        entity=tuple(_bare(source, each) for each in source.entity),
        key=() if _all_labels(source) else tuple(_bare(source, each) for each in source.key),
        time=time_rule(source, types),
        key_separator=source.key_separator,
        table_value=table_value(source, table.name),
        labels=source.labels,
        fields=_fields(source),
        all_labels=_all_labels(source),
        dictionary=None
        if dictionary is None
        else DictionaryRule(_bare(source, dictionary.column), dictionary.query, dictionary.names),
        where={name: frozenset(wanted) for name, wanted in source.where.items()},
        several=source.several,
        order_by=tuple(source.order_by),
        discriminator=value.discriminator,
        choices=value.columns if isinstance(value.columns, dict) else None,
        numbers=frozenset(value.numbers),
        nulls=frozenset(value.nulls),
        measures=value.measures,
        measure_separator=value.measure_separator,
    )


def time_rule(source: Source, types: Dict[str, str]) -> TimeRule:
    """What becomes of the raw time. (Without types it may take a timestamptz for a timestamp: enough for places.)"""
    bucket, zone = (0, None) if source.time_bucket is None else bucket_of(source.time_bucket)
    zoned = [types.get(name, "").endswith("with time zone") for name in source.time]
    if not source.alternatives:
        first = source.time_forms[0]
        written = TimeText.of(first)
        form: TimeForm = "text" if written is not None else first  # type: ignore[assignment]
        rounds = source.several != "refuse"
        return TimeRule(form, source.time_zone, bucket, any(zoned[:1]), zone, written, rounds=rounds)
    either = tuple(
        TimeRule(form, source.time_zone, zoned=each) if form == "native" else TimeRule(form)  # type: ignore[arg-type]
        for form, each in zip(source.alternatives, zoned, strict=True)
    )
    whole = any(zoned) or any(each.form != "native" for each in either)
    return TimeRule("native", source.time_zone, bucket, whole, zone, either=either)


def table_value(source: Source, name: str) -> str | None:
    """The virtual column `table` of a table; None where there is none, or the name does not match."""
    match = None if source.table_pattern is None else re.search(source.table_pattern, name)
    return None if match is None else match[1]


def belongs(source: Source, schema: str, name: str) -> bool:
    """Is a table of this name one of the connector's?"""
    if source.table is not None:
        return TableName.of(source.table) == (schema, name)
    if source.table_pattern is not None and table_value(source, name) is None:
        return False
    return any(each.schema == schema and _like(each.name, name) for each in map(TableName.of, source.tables))


def _like(pattern: str, name: str) -> bool:
    """LIKE, with % alone: an underscore is a letter of many names."""
    first, *others = pattern.split("%")
    if not others:
        return name == pattern
    if not name.startswith(first) or not name.endswith(others[-1]):
        return False
    place, end = len(first), len(name) - len(others[-1])
    for each in others[:-1]:  # the first place where it fits is as good as any: no need to try others
        found = name.find(each, place, end)
        if found < 0:
            return False
        place = found + len(each)
    return place <= end


def _behind_the_key(source: Source, virtual: set[str]) -> Iterator[str]:
    """The real columns that key and virtual columns come from."""
    if not _all_labels(source):
        yield from (each for each in source.key if _bare(source, each) not in virtual)
    if source.dictionary is not None:
        column = _bare(source, source.dictionary.column)
        named = column == TABLE and source.table_pattern is not None
        if not named and column not in _fields(source):
            yield column
    if source.labels is not None:
        yield source.labels


def _virtual(source: Source) -> set[str]:
    names = set() if source.dictionary is None else set(source.dictionary.names)
    return names | _fields(source) | ({TABLE} if source.table_pattern is not None else set())


def _fields(source: Source) -> frozenset[str]:
    """The names in entity and key that are fields of the labels, bare."""
    if source.labels is None:
        return frozenset()
    prefix = f"{source.labels}."
    looked_up = [] if source.dictionary is None else [source.dictionary.column]
    dotted = {
        each.removeprefix(prefix) for each in (*source.entity, *source.key, *looked_up) if each.startswith(prefix)
    }
    if not any(each.startswith(prefix) for each in source.key):
        others = set() if source.dictionary is None else set(source.dictionary.names)
        dotted |= set(source.key) - others - ({TABLE} if source.table_pattern is not None else set())
    return frozenset(dotted - {"*"})


def _all_labels(source: Source) -> bool:
    return source.labels is not None and source.key == [f"{source.labels}.*"]


def _bare(source: Source, name: str) -> str:
    return name if source.labels is None else name.removeprefix(f"{source.labels}.")
