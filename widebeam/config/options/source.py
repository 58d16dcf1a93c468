"""[source]: the narrow tables and how they are read."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from cdc.clock import zones
from cdc.clock.time_text import EXAMPLE, TimeText
from cdc.source.table_name import TableName
from cdc.source.time_encoding import FORMS
from widebeam.config.options.section import Section
from widebeam.config.options.server import Server
from widebeam.config.options.span import bucket
from widebeam.config.pattern import checked
from widebeam.config.select_list import select_list

_SLOT: Final = re.compile(r"[a-z0-9_]{1,63}")


def _names(given: Any) -> Any:
    """One name or a list of them, as a list."""
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ValueError('expected a text in quotes, or a list of them: ["clock", "ns"]')
    return names


Names = Annotated[list[str], BeforeValidator(_names)]


Wanted = Annotated[list[str], BeforeValidator(lambda given: [given] if isinstance(given, str) else given)]


class Value(Section):
    """[source.value]: which column holds the reading."""

    discriminator: str | None = None
    columns: dict[str, str] | list[str]
    numbers: list[str] = []
    nulls: list[str] = []
    measures: bool = False
    measure_separator: str = "."

    @field_validator("columns", mode="before")
    @classmethod
    def _shape(cls, columns: Any) -> Any:
        """One message for a wrong type instead of pydantic's one for each member of the union."""
        names = columns.values() if isinstance(columns, dict) else columns if isinstance(columns, list) else [None]
        if not names or not all(isinstance(name, str) and name for name in names):
            raise ValueError('expected a list of columns, or { value of the discriminator = "column" }')
        return columns

    @model_validator(mode="after")
    def _fits(self) -> Value:
        if self.discriminator is not None and not isinstance(self.columns, dict):
            raise ValueError('`columns` beside a discriminator is { value of the discriminator = "column" }')
        if self.discriminator is None and isinstance(self.columns, dict):
            raise ValueError('`columns` without a discriminator is a list of columns: ["double_v", "long_v"]')
        if self.discriminator is not None and self.measures:
            raise ValueError("`measures` takes every value column, and a discriminator only one of them")
        if strangers := [name for name in self.numbers if name not in self.names]:
            raise ValueError(f"`numbers` has {strangers[0]}, which is none of `columns`")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The value columns, each once."""
        return tuple(dict.fromkeys(self.columns.values() if isinstance(self.columns, dict) else self.columns))


class Dictionary(Section):
    """[source.dictionary]: ids and their names, read from the source."""

    column: str
    query: str = Field(max_length=10_000)
    columns: list[str] = []

    @model_validator(mode="after")
    def _named(self) -> Dictionary:
        if not self.names:
            raise ValueError(
                "what the query's columns are called is not plain to see: name those after the id in `columns`"
            )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The virtual columns: what the query's columns after the first are called."""
        return tuple(self.columns or (select_list(self.query) or [])[1:])


class Source(Server):
    """[source]: the narrow tables, how to read them, and where they are."""

    side: ClassVar[str] = "source"

    table: str | None = None
    tables: list[str] = []
    table_pattern: str | None = None
    entity: list[str]
    time: Names
    time_form: str | list[str] = "native"
    time_zone: str | None = None
    time_bucket: str | None = None
    key: Annotated[Names, Field(min_length=1)]
    key_separator: str = "/"
    labels: str | None = None
    where: dict[str, Wanted] = {}
    several: Literal["refuse", "first", "last"] = "refuse"
    order_by: list[str] = []
    dictionary: Dictionary | None = None
    value: Value
    slot: str | None = None
    publication: str | None = None
    failover: bool = True
    watch_seconds: float = Field(default=10.0, gt=0, le=3600)

    @field_validator("table_pattern", "time_zone", "time_bucket", "labels", mode="before")
    @classmethod
    def _empty_is_none(cls, given: Any) -> Any:
        return given or None

    @field_validator("table", "tables")
    @classmethod
    def _qualified(cls, given: str | list[str] | None) -> str | list[str] | None:
        for table in [given] if isinstance(given, str) else given or []:
            if "%" in TableName.of(table).schema and not isinstance(given, str):
                raise ValueError("a schema is named whole: % is for the table's name")
        return given

    @field_validator("table_pattern")
    @classmethod
    def _pattern(cls, pattern: str | None) -> str | None:
        if pattern is not None and checked(pattern).groups < 1:
            raise ValueError("expected a regular expression with a group, which is the virtual column `table`")
        return pattern

    @field_validator("time_form")
    @classmethod
    def _time_form(cls, given: str | list[str]) -> str | list[str]:
        for form in [given] if isinstance(given, str) else given:
            if form not in FORMS and TimeText.of(form) is None:
                raise ValueError(f'expected one of {", ".join(FORMS)}, or how a text writes it: "{EXAMPLE}"')
        return given

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, zone: str | None) -> str | None:
        try:
            if zone is not None:
                zones.zone(zone)
        except zones.UnknownZone:
            raise ValueError('expected the name of a time zone: "Europe/Oslo"') from None
        return zone

    @field_validator("time_bucket")
    @classmethod
    def _bucket(cls, given: str | None) -> str | None:
        if given is not None:
            bucket(given)
        return given

    @field_validator("slot")
    @classmethod
    def _slot_name(cls, slot: str | None) -> str | None:
        if slot is not None and _SLOT.fullmatch(slot) is None:
            raise ValueError("expected lower-case letters, digits and underscores, 63 at most")
        return slot

    @model_validator(mode="after")
    def _fits(self) -> Source:
        if (self.table is None) == (not self.tables):
            raise ValueError("expected either `table` or `tables`")
        self._time_fits()
        if not self.time and (self.time_bucket or self.time_zone):
            raise ValueError("`time_bucket` and `time_zone` need a `time`")
        if not self.time and not self.entity:
            raise ValueError("without `entity` and without `time` there are no rows: name one of them")
        if self.several == "refuse" and self.time_bucket is not None:
            raise ValueError('times are rounded, so that several readings can meet: set several = "first" or "last"')
        if self.several == "refuse" and self.alternatives:
            raise ValueError(
                "the time is the first of several columns that is not NULL, so that several readings can meet: "
                'set several = "first" or "last"'
            )
        if self.labels is None and any(name.endswith(".*") for name in self.key):
            raise ValueError("a key of `.*` needs `labels`, the jsonb column that it means")
        return self

    def _time_fits(self) -> None:
        forms, count = self.time_forms, len(self.time)
        if "s_ns" in forms and (len(forms) > 1 or count != 2):
            raise ValueError('`time` has to name 2 columns with time_form = "s_ns"')
        if isinstance(self.time_form, list) and (count < 2 or len(forms) != count):
            raise ValueError("`time_form` as a list is for several columns in `time`, and has a form for each of them")
        if forms != ("native",) and count == 0:
            raise ValueError(f'`time` has to name a column with time_form = "{forms[0]}"')
        written = TimeText.of(forms[0])
        if self.alternatives and any(TimeText.of(form) is not None for form in forms):
            raise ValueError("a time that is one of several columns is no text: its rows would have no order")
        if self.time_zone is not None and "native" not in forms and (written is None or written.zoned):
            said = "an epoch is UTC" if written is None else "these texts say theirs"
            raise ValueError(f"`time_zone` is for a column of type timestamp: {said}")

    @property
    def time_forms(self) -> tuple[str, ...]:
        """The forms of the time columns: one for all of them, or one for each."""
        return tuple(self.time_form) if isinstance(self.time_form, list) else (self.time_form,)

    @property
    def alternatives(self) -> tuple[str, ...]:
        """Where the time is in the first of several columns that is not NULL: the form of each; else nothing."""
        forms = self.time_forms
        if len(self.time) < 2 or forms == ("s_ns",):
            return ()
        return forms if len(forms) > 1 else forms * len(self.time)
