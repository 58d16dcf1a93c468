"""The mapping: how narrow tables' readings become cells of wide tables. Plain values, made once at the edge."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Mapping as Dict
from dataclasses import dataclass
from typing import Literal, TypeAlias

from cdc.source.narrow import NarrowTable
from cdc.source.table_name import TableName
from sink.mapping.family import Family
from sink.mapping.group import Group
from sink.mapping.kinds import one_text
from sink.mapping.period import Unit
from sink.mapping.rule import Rule
from sink.mapping.width import fillfactor

Values: TypeAlias = "tuple[str, ...]"

Layout = Literal["per_entity", "single"]


@dataclass(frozen=True, slots=True)
class Mapping:
    """One connector's mapping.

    `rules` has one for each narrow table, alike but for the table and its types; there is at least one. With
    a `family`, tables may join while it runs; those that are `joining` are not published yet, so that their rows can
    change without an event: until then they meet no others' rows. `layout` is one wide table for each entity, or
    a single one; `name` is the wide tables' name, where `{entity}` stands for the entity's values. `groups` of keys
    have tables of their own. `readers` are roles that may read the wide views.
    With `partition_by` each table is partitioned by time. Pages are as full at first as `fillfactor` says (percent),
    or as suits the width of the rows.
    """

    connector: str
    rules: tuple[Rule, ...]
    schema: str
    name: str
    layout: Layout = "per_entity"
    family: Family | None = None
    joining: frozenset[str] = frozenset()
    on_delete: Literal["clear", "ignore"] = "clear"
    on_truncate: Literal["halt", "ignore", "apply"] = "halt"
    unknown_key: Literal["add_column", "overflow", "reject"] = "add_column"
    type_conflict: Literal["quarantine", "widen", "null"] = "quarantine"
    columns_per_table: int = 5_000
    columns_per_hour: int = 20_000
    groups: tuple[Group, ...] = ()
    readers: tuple[str, ...] = ()
    partition_by: Unit | None = None
    fillfactor: int | None = None

    @property
    def rule(self) -> Rule:
        """The first rule: what all of them share can be asked of it."""
        return self.rules[0]

    @property
    def plain(self) -> bool:
        """There is one narrow table, and its rule is plain: the fast paths can read it."""
        return len(self.rules) == 1 and self.family is None and self.rules[0].plain

    @property
    def table(self) -> NarrowTable:
        """The first narrow table, which is the only one of a plain mapping. All have the same columns."""
        return self.rules[0].table

    @property
    def types(self) -> Dict[str, str]:
        """The types of the first narrow table's columns."""
        return self.rules[0].types

    @property
    def tables(self) -> frozenset[str]:
        """The narrow tables' qualified names."""
        return frozenset(rule.table.qualified for rule in self.rules)

    @property
    def met(self) -> tuple[Rule, ...]:
        """The rules of the tables whose rows can meet in a cell."""
        return tuple(rule for rule in self.rules if rule.table.qualified not in self.joining)

    @property
    def entity(self) -> tuple[str, ...]:
        """The names of the entity, real or virtual columns."""
        return self.rules[0].entity

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The wide tables' key: the time, and before it the entity where one table holds all."""
        time = self.rules[0].time_names
        return time if self.layout == "per_entity" else self.rules[0].entity + time

    @property
    def key_types(self) -> dict[str, str]:
        """The wide tables' key columns and their types."""
        types = {**self.rules[0].entity_types, **self.rules[0].time_types}
        return {name: types[name] for name in self.key_columns}

    def full(self, types: Iterable[str]) -> int:
        """How full pages of a wide table with cells of these types are to be, in percent."""
        return self.fillfactor or fillfactor([*self.key_types.values(), "pg_lsn", *types])

    @property
    def one_text(self) -> Callable[[Values, Values], tuple[Values, Values]] | None:
        """For wide keys that can be equal though their texts differ, as 1.0 and 1.00 are: what makes one text of an
        entity and of a time. An entity with tables of its own is named by its text, as it is."""
        rule = self.rules[0]
        types = {name: "text" if name in rule.virtual else rule.types.get(name, "") for name in self.entity}
        raw = dict(zip(rule.time_names, rule.table.time, strict=False))
        types |= rule.time_types if not rule.time.verbatim else {n: rule.types.get(each, "") for n, each in raw.items()}
        forms = {name: form for name, text in types.items() if (form := one_text(text)) is not None}
        if not forms:
            return None
        entity = [forms.get(name) if self.layout == "single" else None for name in self.entity]
        time = [forms.get(name) for name in rule.time_names]

        def made(forms: list[Callable[[str], str] | None], values: Values) -> Values:
            return tuple(value if form is None else form(value) for form, value in zip(forms, values, strict=True))

        return lambda of, at: (made(entity, of), made(time, at))

    def owns(self, table: str) -> bool:
        """Is a table, by its qualified name, one of the narrow ones, or one that may have joined them?"""
        if table in self.tables or self.family is None:
            return table in self.tables
        try:
            return self.family.narrow(*TableName.of(table)) is not None
        except ValueError:
            return False

    def rule_of(self, table: str) -> Rule | None:
        """The rule of a narrow table, by its qualified name."""
        return next((rule for rule in self.rules if rule.table.qualified == table), None)
