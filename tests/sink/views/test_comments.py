from __future__ import annotations

from dataclasses import replace
from threading import Event

import psycopg
from psycopg import sql

from sink.mapping.wide import Column, Need
from sink.views.comments import comment
from sink.wide.registry import Registry
from snapshot import commented

FROM = "from tenant.tbl_data_timeseries"
SAID = """
SELECT attname::text, col_description(attrelid, attnum) FROM pg_attribute
WHERE attrelid = 'wide."ship-1"'::regclass AND attnum > 0
"""


def need(key, source="double_v"):
    return Need(("ship-1",), key, source, {"double_v": "double precision", "long_v": "bigint", "str_v": "text"}[source])


def said(target):
    return dict(target.execute(SAID).fetchall())


def test_a_reader_sees_the_key_of_each_column_which_survives_a_new_one_a_widening_and_a_renaming(target, mapping):
    long = "main engine/" * 10 + "speed 100 %; it's"
    registry = Registry(replace(mapping, type_conflict="widen"))
    registry.ensure(target, [need("a", "long_v"), need(long)])
    reader = sql.Identifier(f"reader_{target.info.dbname}")
    target.execute(sql.SQL("CREATE ROLE {0}; GRANT USAGE ON SCHEMA wide TO {0}; SET ROLE {0}").format(reader))
    found = said(target)
    target.execute(sql.SQL("RESET ROLE; DROP OWNED BY {0}; DROP ROLE {0}").format(reader))
    name = next(each for each in found if each.startswith("main engine"))
    assert len(name) < len(long)
    assert found["created_time"] == f"time of the readings, {FROM}"
    assert found["a"] == f"a, {FROM} (long_v)"
    assert found[name] == f"{long}, {FROM} (double_v)"
    registry.ensure(target, [need("b")])
    registry.ensure(target, [need("a", "str_v")])
    assert said(target) == found | {"b": f"b, {FROM} (double_v)"}
    target.execute('COMMENT ON COLUMN wide."ship-1".b IS $$mine$$')
    registry.rename(target, lambda: {"a": "y", "b": "z"})
    assert said(target) == {key: text for key, text in found.items() if key != "a"} | {
        "y": f"y, {FROM} (long_v)",
        "z": "mine",
    }


def test_a_column_that_keeps_its_name_under_another_key_says_so(target, mapping):
    registry = Registry(mapping)
    registry.ensure(target, [need("a")])
    target.execute('CREATE VIEW public.shown AS SELECT a FROM wide."ship-1"')
    registry.rename(target, lambda: {"a": "z"})
    assert said(target)["a"] == f"z, {FROM} (double_v)"


def test_views_from_before_get_comments_and_nobody_s_own_is_lost(target, database, mapping):
    registry = Registry(mapping)
    registry.ensure(target, [need("a"), need("b")])
    found = said(target)
    for name in found:
        target.execute(sql.SQL('COMMENT ON COLUMN wide."ship-1".{} IS NULL').format(sql.Identifier(name)))
    target.execute('COMMENT ON COLUMN wide."ship-1".b IS $$mine$$')
    with psycopg.connect(database) as reader:  # who reads it is not in the way
        reader.execute('SELECT FROM wide."ship-1"')
        assert commented.bring_along(target, registry, Event())
    assert said(target) == found | {"b": "mine"}


def test_several_narrow_tables_are_named_or_counted(mapping):
    rule = mapping.rule
    tables = [replace(rule, table=replace(rule.table, name=f"t{n}")) for n in range(5)]
    column = Column(1, 1, "a", "a", "bigint", "long_v")
    assert comment(replace(mapping, rules=tuple(tables[:2])), column) == "a, from tenant.t0, tenant.t1 (long_v)"
    assert comment(replace(mapping, rules=tuple(tables)), column) == (
        "a, from tenant.t0, tenant.t1, tenant.t2 and 2 others (long_v)"
    )
