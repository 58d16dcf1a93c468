"""The mapping: how a narrow table's readings become cells of wide tables. Plain values, made once at the edge."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from dataclasses import dataclass
from typing import Literal

from cdc.narrow import NarrowTable

Layout = Literal["per_entity", "single"]


@dataclass(frozen=True, slots=True)
class Mapping:
    """One connector's mapping.

    `discriminator` names the column whose value chooses the value column, by `choices`
    ({"Decimal": "double_v"}); without it the first value column that is not NULL is taken.
    `types` gives each carried column's type as format_type writes it; a wide column has its value column's type.
    `layout` is one wide table for each entity, or a single one; `name` is the wide tables' name, where
    `{entity}` stands for the entity's values.
    """

    connector: str
    table: NarrowTable
    types: Dict[str, str]
    schema: str
    name: str
    layout: Layout = "per_entity"
    discriminator: str | None = None
    choices: Dict[str, str] | None = None
    on_delete: Literal["clear", "ignore"] = "clear"
    on_truncate: Literal["halt", "ignore", "apply"] = "halt"
    unknown_key: Literal["add_column", "reject"] = "add_column"

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The wide tables' key: the time, and before it the entity where one table holds all."""
        return self.table.time if self.layout == "per_entity" else self.table.wide
