"""Folding a chunk must place each reading where the stream's fold would place it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.lsn import Lsn
from cdc.record.record import Changes, Stamp
from cdc.source.narrow import NarrowTable
from sink.fold.column_route import Routes
from sink.fold.copytext import NULL, escaped, unescaped
from sink.fold.pivot import Fold
from sink.fold.quarantine_entry import QuarantineEntry
from sink.mapping.mapping import Mapping
from sink.mapping.rule import Rule
from sink.mapping.wide import Column, Entity
from snapshot.chunks.plan import Chunk
from snapshot.fill.fold import ChunkFold

CUTOFF = Lsn(800)
CHUNK = Chunk(7, None, None, 0)
KEYS = {"temperature": "double_v", "count": "long_v", "état \\": "str_v", "on": "bool_v"}
FIELDS = ("double_v", "long_v", "str_v", "bool_v")
CHOICE = {"double_v": "Decimal", "long_v": "Integer", "str_v": "String", "bool_v": "Boolean"}


def entity(name: str = '["a"]') -> Entity:
    made = Entity(name, "a")
    for ordinal, (key, source) in enumerate(KEYS.items(), 1):
        made.add(Column(ordinal, 1, key, key, "text", source))
    return made


def line(*values: str | None) -> str:
    return "\t".join(NULL if value is None else escaped(value) for value in values)


def reading(key: str | None, source: str, value: str | None, ship: str | None = "a", time: str = "2024-01-01") -> str:
    return line(ship, time, key, *(value if each == source else None for each in FIELDS), CHOICE[source])


@pytest.fixture
def fold(mapping: Mapping) -> Callable[..., ChunkFold]:
    def make(mapping: Mapping = mapping) -> ChunkFold:
        name = "[]" if mapping.layout == "single" else '["a"]'
        return ChunkFold(mapping, Routes(mapping, {name: entity(name)}, first=1), CUTOFF, CHUNK)

    return make


def cells(folded: ChunkFold) -> dict[tuple[str, ...], dict[int, str | None]]:
    assert not folded.open
    return {(name, *key): row.cells for name, rows in folded.tables.items() for key, row in rows.items() if row.cells}


def test_each_type_of_value_goes_into_its_column(fold: Callable[..., ChunkFold]) -> None:
    folded = fold()
    folded.add([reading(key, source, f"{n}") for n, (key, source) in enumerate(KEYS.items())])
    assert cells(folded) == {('["a"]', "2024-01-01"): {1: "0", 2: "1", 3: "2", 4: "3"}}
    assert (folded.rows, folded.cells) == (4, 4)


def test_values_stay_as_copy_wrote_them(fold: Callable[..., ChunkFold]) -> None:
    folded = fold()
    folded.add([reading("état \\", "str_v", "tab\t \\N newline\n")])
    assert cells(folded) == {('["a"]', "2024-01-01"): {3: "tab\\t \\\\N newline\\n"}}


def test_a_null_is_no_cell(fold: Callable[..., ChunkFold]) -> None:
    folded = fold()
    folded.add([reading("temperature", "double_v", None)])
    assert cells(folded) == {}
    assert folded.cells == 0


def test_in_a_single_table_the_entity_is_part_of_the_key(fold: Callable[..., ChunkFold], mapping: Mapping) -> None:
    folded = fold(replace(mapping, layout="single"))
    folded.add([reading("count", "long_v", "1", ship="a"), reading("count", "long_v", "2", ship="b\\")])
    assert cells(folded) == {("[]", "a", "2024-01-01"): {2: "1"}, ("[]", "b\\", "2024-01-01"): {2: "2"}}


def test_without_a_discriminator_the_first_value_that_is_set_counts(
    fold: Callable[..., ChunkFold], mapping: Mapping
) -> None:
    table = replace(mapping.table, extra=())
    folded = fold(replace(mapping, rules=(Rule.of(table, mapping.types),)))
    folded.add([line("a", "t", "count", None, "5", None, None), line("a", "t", "on", None, None, None, None)])
    assert cells(folded) == {('["a"]', "t"): {2: "5"}}


def test_a_key_without_a_column_is_asked_for_and_placed_when_it_has_one(mapping: Mapping) -> None:
    entities: dict[str, Entity] = {}
    folded = ChunkFold(mapping, Routes(mapping, entities, first=1), CUTOFF, CHUNK)
    folded.add([reading("count", "long_v", "1")])
    (need,) = folded.place({})
    assert (need.values, need.key, need.source) == (("a",), "count", "long_v")
    entities['["a"]'] = entity()
    assert folded.place({}) == []
    folded.add([reading("on", "bool_v", "t")])
    assert cells(folded) == {('["a"]', "2024-01-01"): {2: "1", 4: "t"}}


def test_a_key_that_cannot_have_a_column_is_quarantined_with_its_line(fold: Callable[..., ChunkFold]) -> None:
    folded = fold()
    folded.add([reading("count", "long_v", "1"), reading("new", "long_v", "2")])
    assert folded.place({('["a"]', "new"): ("unknown_key", "no column for it")}) == []
    (quarantine_entry,) = folded.quarantine_entries
    assert (quarantine_entry.reason, quarantine_entry.origin.rsplit(":", 1)[0]) == ("unknown_key", "chunk:7:1")
    assert cells(folded) == {('["a"]', "2024-01-01"): {2: "1"}}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (reading("", "long_v", "1"), "empty_key"),
        (reading("count", "long_v", "1", ship=None), "null_wide_key"),
        (reading("count", "double_v", "1.5"), "type_conflict"),
        (line("a", "t", "count", "1", None, None, None, "Complex"), "unknown_discriminator"),
    ],
)
def test_a_reading_that_has_no_place_is_quarantined(fold: Callable[..., ChunkFold], bad: str, reason: str) -> None:
    folded = fold()
    folded.add([bad, reading("on", "bool_v", "t")])
    folded.place({})
    assert [each.reason for each in folded.quarantine_entries] == [reason]
    assert folded.cells == 1


def test_without_a_discriminator_one_value_is_the_reading_and_two_are_none(
    fold: Callable[..., ChunkFold], mapping: Mapping
) -> None:
    plain = replace(mapping, rules=(Rule.of(mapping.table, mapping.types),))
    folded = fold(plain)
    nothing = line("a", "t2", "count", None, None, None, None, "Integer")
    folded.add([reading("count", "long_v", "1"), line("a", "t", "count", None, "1", "x", None, None), nothing])
    folded.place({})
    assert [each.reason for each in folded.quarantine_entries] == ["two_values"]
    assert cells(folded) == {('["a"]', "2024-01-01"): {2: "1"}}


def test_a_key_written_with_an_escape_is_not_taken_for_another_one(mapping: Mapping) -> None:
    # COPY writes the key `a\b` as `a\\b`, which is the name of another key.
    made = Entity('["a"]', "a")
    made.add(Column(1, 1, "a\\b", "one", "text", "str_v"))
    made.add(Column(2, 1, "a\\\\b", "two", "text", "str_v"))
    folded = ChunkFold(mapping, Routes(mapping, {'["a"]': made}, first=1), CUTOFF, CHUNK)
    folded.add([reading("a\\b", "str_v", "one backslash"), reading("a\\\\b", "str_v", "two")])
    assert cells(folded) == {('["a"]', "2024-01-01"): {1: "one backslash", 2: "two"}}


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@settings(max_examples=300, deadline=None)
@given(texts)
def test_what_copy_escapes_reads_back(text: str) -> None:
    assert unescaped(escaped(text)) == text


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "\t"]),
            st.sampled_from(["2024-01-01", "2024-01-02"]),
            st.sampled_from([*KEYS, "", "other"]),
            st.lists(st.none() | texts, min_size=4, max_size=4),
            st.sampled_from([*CHOICE.values(), "Complex", None]),
        ),
        unique_by=lambda row: row[:3],
        max_size=12,
    )
)
def test_the_chunk_and_the_stream_place_every_reading_alike(
    rows: list[tuple[str, str, str, list[str | None], str | None]],
) -> None:
    mapping = make_mapping()
    entities = {'["a"]': entity(), '["b"]': entity('["b"]')}
    refused = {(name, key): ("unknown_key", "") for name in ('["a"]', '["b"]', '["\\t"]') for key in [*KEYS, "other"]}
    folded = ChunkFold(mapping, Routes(mapping, entities, first=1), CUTOFF, CHUNK)
    folded.add([line(ship, time, key, *values, choice) for ship, time, key, values, choice in rows])
    assert folded.place(refused) == []
    stream = Fold(mapping, Routes(mapping, entities, first=1), refused)
    for ship, time, key, values, choice in rows:
        wide: dict[str, str | None] = {"ship_id": ship, "created_time": time}
        row = ["i", key, *values, choice]
        changes = Changes(
            Stamp("ships", 0, 0, CUTOFF, 0, 0), "tenant.readings", wide, list(mapping.table.carried), [row]
        )  # type: ignore[list-item]
        stream.add(changes, "0:0", escape=True)
    assert cells(folded) == {
        (name, *key): set_cells
        for name, table in stream.tables.items()
        for key, row in table.items()
        if (set_cells := {ordinal: value for ordinal, value in row.cells.items() if value is not None})
    }
    assert sorted((each.reason, each.raw) for each in folded.quarantine_entries if has_reading(each)) == sorted(
        (each.reason, each.raw) for each in stream.quarantine_entries if has_reading(each)
    )


def has_reading(quarantine_entry: QuarantineEntry) -> bool:
    """A bad key with a NULL has nothing to lose; the stream keeps it in quarantine all the same."""
    _, _, *values, choice = json.loads(quarantine_entry.raw)["row"]
    return any(
        value is not None and choice in (CHOICE[source], "Complex", None)
        for source, value in zip(FIELDS, values, strict=True)
    )


def make_mapping() -> Mapping:
    table = NarrowTable(
        "tenant", "readings", ("ship_id",), ("created_time",), ("data_channel_id",), FIELDS, ("value_format",)
    )
    choices = {choice: source for source, choice in CHOICE.items()}
    rule = Rule.of(table, {}, discriminator="value_format", choices=choices)
    return Mapping("ships", (rule,), "wide", "{entity}")


def test_what_no_index_takes_is_quarantined_beside_the_others(fold: Callable[..., ChunkFold]) -> None:
    long, known = "x" * 2_400, next(key for key, source in KEYS.items() if source == "double_v")
    folded = fold()
    folded.add(
        [
            reading(known, "double_v", "1", ship=long),
            reading(long, "double_v", "2"),
            reading(known, "double_v", "3"),
        ]
    )
    assert folded.place({}) == []
    assert [each.reason for each in folded.quarantine_entries] == ["too_long", "too_long"]
    assert list(cells(folded)) == [('["a"]', "2024-01-01")]


def test_entities_of_a_chunk_that_are_equal_for_their_type_are_one_row(
    fold: Callable[..., ChunkFold], mapping: Mapping
) -> None:
    rule = replace(mapping.rule, types={**mapping.types, "ship_id": "numeric"})
    folded = fold(replace(mapping, layout="single", rules=(rule,)))
    known = list(KEYS)
    folded.add([reading(known[n], KEYS[known[n]], "1", ship=ship) for n, ship in enumerate(("1.0", "1.00"))])
    assert cells(folded) == {("[]", "1", "2024-01-01"): {1: "1", 2: "1"}}
