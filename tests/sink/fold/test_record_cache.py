"""Templates: records set at once mean the same as row by row."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from cdc.event import Value
from cdc.lsn import Lsn
from cdc.record.columnar import Columnar
from cdc.record.record import Changes, Stamp
from cdc.source.narrow import NarrowTable
from sink.fold.column_route import Routes
from sink.fold.pivot import Fold
from sink.fold.record_cache import RecordCache
from sink.fold.set_or_clear import Cells
from sink.mapping.mapping import Mapping
from sink.mapping.rule import Rule
from sink.mapping.wide import Column, Entity

Row = list[Value]

TYPES = {
    "ship": "text",
    "at": "timestamp without time zone",
    "key": "text",
    "kind": "text",
    "d": "double precision",
    "s": "text",
}
CHOSEN = NarrowTable("t", "r", ("ship",), ("at",), ("key",), ("d", "s"), ("kind",))
SINGLE = NarrowTable("t", "r", ("ship",), ("at",), ("key",), ("s",), ())
RULES = [Rule.of(CHOSEN, TYPES, discriminator="kind", choices={"D": "d", "S": "s"}), Rule.of(SINGLE, TYPES)]
SOURCES = {"a": "d", "b": "s", "c": "s"}


def entity() -> Entity:
    made = Entity('["one"]', "one")
    for ordinal, (key, source) in enumerate(SOURCES.items(), 1):
        made.add(Column(ordinal, 1, key, key, TYPES[source], source))
    return made


def mapped(rule: Rule) -> Mapping:
    """A text column takes the other column's readings too, so that one cell can be set out of two columns."""
    return Mapping(connector="c", rules=(rule,), schema="wide", name="{entity}", type_conflict="widen")


values = st.sampled_from(["1", "", "tab\t", "\\N"]) | st.none()
keys = st.sampled_from(["a", "b", "c", "unknown", ""]) | st.none()
chosen = st.tuples(keys, values, values, st.sampled_from(["D", "S", "?"]) | st.none()).map(lambda row: ["i", *row])
single = st.tuples(keys, values).map(lambda row: ["i", *row])
plain = st.permutations([["i", "a", "1", None, "D"], ["i", "b", None, "x\ty", "S"], ["i", "c", None, "", "S"]])


def result(rule: Rule, records: list[list[Row]], *, columnar: bool, record_cache: RecordCache | None) -> object:
    mapping = mapped(rule)
    routes = Routes(mapping, {'["one"]': entity()}, 1)
    fold = Fold(mapping, routes, record_cache=record_cache or RecordCache(routes))
    for n, rows in enumerate(records):
        cells = [list(column) for column in zip(*rows, strict=True)][1:]
        changes = Changes(
            Stamp("c", 1, n, Lsn(8 * n + 8), 7, 0),
            "t.r",
            {"ship": "one", "at": "2026-01-01"},
            list(rule.table.carried),
            Columnar(cells) if columnar else rows,  # type: ignore[arg-type]  # the values are texts
        )
        fold.add(changes, f"0:{n}", escape=True)
    rows_found = {
        (name, key): (row.position, row.cells, row.clears, row.bare, row.over)
        for name, table in fold.tables.items()
        for key, row in table.items()
    }
    return rows_found, fold.needs, fold.quarantine_entries, fold.rows


@given(records=st.lists(st.lists(chosen, min_size=1, max_size=4) | plain, min_size=1, max_size=4))
@example(records=[[["i", "a", "1", None, "D"], ["i", "b", None, "first", "S"], ["i", "b", "2", None, "D"]]])
def test_chosen_values_by_columns_mean_the_same_as_by_rows(records: list[list[Row]]) -> None:
    records = records * 3  # from the second time on there may be a template
    assert result(RULES[0], records, columnar=True, record_cache=None) == result(
        RULES[0], records, columnar=False, record_cache=None
    )


@given(records=st.lists(st.lists(single, min_size=1, max_size=4), min_size=1, max_size=4))
def test_values_of_one_column_by_columns_mean_the_same_as_by_rows(records: list[list[Row]]) -> None:
    records = records * 3
    assert result(RULES[1], records, columnar=True, record_cache=None) == result(
        RULES[1], records, columnar=False, record_cache=None
    )


def known(rows: list[Row], times: int) -> RecordCache:
    mapping = mapped(RULES[0])
    routes = Routes(mapping, {'["one"]': entity()}, 1)
    record_cache = RecordCache(routes)
    route, cells = routes.of(("one",)), [list(column) for column in zip(*rows, strict=True)][1:]
    made = Cells(mapping, {})
    for _ in range(times):
        record_cache.fold(cells, route, made.row('["one"]', ("t",)), escape=False)  # type: ignore[arg-type]
    return record_cache


def test_what_comes_again_gets_a_template_and_what_came_once_does_not() -> None:
    rows: list[Row] = [["i", "a", "1", None, "D"], ["i", "b", None, "x", "S"]]
    assert list(known(rows, 1)._known.values()) == [None]
    [template] = known(rows, 2)._known.values()
    assert template is not None
    assert [(pick.column, pick.ordinals) for pick in template] == [(1, (1,)), (2, (2,))]


def test_the_memory_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr("sink.fold.record_cache._KEPT", 100)
    routes = Routes(mapped(RULES[0]), {'["one"]': entity()}, 1)
    record_cache, route = RecordCache(routes), routes.of(("one",))
    for n in range(1_000):
        record_cache._of([[f"key-{n}"], [None], [None], ["D"]], route)
        assert len(record_cache._known) <= 50
