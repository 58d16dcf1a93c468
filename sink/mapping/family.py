"""The family of a connector's narrow tables: which are in it, and which join while it runs. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as Dict
from dataclasses import replace
from typing import NamedTuple, Protocol

from cdc.lsn import Lsn
from cdc.source.narrow import NarrowTable
from cdc.source.table_name import TableName
from sink.mapping.rule import Rule


class Family(Protocol):
    """Knows by its name whether a table belongs, and how it is read."""

    def narrow(self, schema: str, name: str) -> NarrowTable | None:
        """The narrow table of that name; None if it does not belong."""

    def rule(self, table: NarrowTable, types: Dict[str, str]) -> Rule:
        """How it is read, with its columns' types as format_type writes them."""


class Source(NamedTuple):
    """A narrow table as widebeam.sources has it. `gate` is None until it is published, Lsn(0) for one of the first.

    `escapes` is how the parts of its keys are joined (Rule.joined), `wide_time` what the wide time column is called,
    where `time` was another one when the connector was made. `canonical` says how numbers out of texts are written.
    """

    schema: str
    name: str
    oid: int
    types: dict[str, str]
    gate: Lsn | None
    escapes: bool = True
    wide_time: str | None = None
    canonical: bool = True

    @property
    def qualified(self) -> str:
        """The text that stands for its name."""
        return TableName(self.schema, self.name).text


def rules(family: Family, sources: Iterable[Source], *, widens: bool) -> tuple[Rule, ...]:
    """The rules of these tables, without those that do not belong any more. `widens`: a column may become a text."""
    tables = ((family.narrow(each.schema, each.name), each) for each in sources)
    return tuple(
        replace(
            family.rule(table, each.types),
            escapes=each.escapes,
            wide_time=each.wide_time,
            canonical=each.canonical,
            strict=each.canonical and not widens,
        )
        for table, each in tables
        if table is not None
    )


def joining(sources: Iterable[Source]) -> frozenset[str]:
    """Which of these tables are not published yet."""
    return frozenset(each.qualified for each in sources if each.gate is None)
