"""Tables, columns and views as they come about, on a real server."""

from __future__ import annotations

import threading
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from cdc.halt import Cause, Halt
from cdc.source.session import connect
from sink.mapping.wide import Need
from sink.wide import ddl_lock, extension
from sink.wide.registry import Registry
from tests.waiting import until

TYPES = {"double_v": "double precision", "long_v": "bigint", "str_v": "text", "bool_v": "boolean"}


def needs(*keys, source="double_v", entity="ship-1"):
    return [Need((entity,), key, source, TYPES[source]) for key in keys]


def columns_of(target, name):
    with target.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT * FROM wide.{} LIMIT 0").format(sql.Identifier(name)))
        return [column.name for column in cursor.description or ()]


def test_a_new_key_becomes_a_column_of_table_and_view(target, mapping):
    registry = Registry(mapping)
    assert registry.ensure(target, needs("b", "a")) == {}
    registry.ensure(target, needs("c", source="str_v"))
    assert columns_of(target, "ship-1") == ["created_time", "_lsn", "b", "a", "c"]
    assert columns_of(target, "ship-1__1") == ["created_time", "_lsn", "b", "a", "c"]
    assert [column.type for column in registry.entities['["ship-1"]'].columns.values()] == [
        "double precision",
        "double precision",
        "text",
    ]


def test_what_another_process_added_is_found_and_not_made_again(target, mapping):
    mine, theirs = Registry(mapping), Registry(mapping)
    theirs.ensure(target, needs("a"))
    mine.ensure(target, needs("a", "b"))
    assert columns_of(target, "ship-1") == ["created_time", "_lsn", "a", "b"]


def test_many_at_once_make_each_column_once(target, database, mapping):
    def make(offset):
        with connect(database, autocommit=True) as connection:
            Registry(mapping).ensure(connection, needs(*(f"k{n % 40}" for n in range(offset, offset + 40))))

    threads = [threading.Thread(target=make, args=[10 * n]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(columns_of(target, "ship-1")[2:]) == sorted(f"k{n}" for n in range(40))


@pytest.mark.parametrize(
    ("source", "value", "count", "parts"),
    [("double_v", "-1.7976931348623157e+308", 1037, 2), ("str_v", "'" + "x" * 40 + "'", 650, 2),
     ("str_v", "'" + "x" * 23 + "'", 650, 2), ("str_v", "repeat(md5('x'), 1000)", 700, 3)],
)  # fmt: skip
def test_a_full_row_of_each_part_can_be_inserted(target, mapping, source, value, count, parts):
    registry = Registry(mapping)
    registry.ensure(target, needs(*(f"k{n}" for n in range(count)), source=source))
    entity = registry.entities['["ship-1"]']
    assert len(entity.parts) == parts
    for number, part in entity.parts.items():
        values = ", ".join([value] * len(entity.of_part(number)))
        statement = f"INSERT INTO wide.{{}} VALUES ('2024-01-01', '0/1', {values})"
        target.execute(sql.SQL(statement).format(sql.Identifier(part.table)))
    assert target.execute('SELECT count(k0), count(*) FROM wide."ship-1"').fetchone() == (1, 1)


def test_the_view_joins_rows_that_only_one_part_has(target, mapping):
    Registry(mapping).ensure(target, needs(*(f"k{n}" for n in range(1037))))
    target.execute("INSERT INTO wide.\"ship-1__1\" (created_time, _lsn, k0) VALUES ('2024-01-01', '0/1', 1)")
    target.execute("INSERT INTO wide.\"ship-1__1\" (created_time, _lsn) VALUES ('2024-01-02', '0/0')")
    target.execute("INSERT INTO wide.\"ship-1__2\" (created_time, _lsn, k1036) VALUES ('2024-01-02', '0/2', 2)")
    target.execute("INSERT INTO wide.\"ship-1__1\" (created_time, _lsn, k0) VALUES ('2024-01-03', '0/3', 3)")
    target.execute("INSERT INTO wide.\"ship-1__2\" (created_time, _lsn, k1036) VALUES ('2024-01-03', '0/4', 4)")
    assert target.execute('SELECT _lsn, k0, k1036 FROM wide."ship-1" ORDER BY created_time').fetchall() == [
        ("0/1", 1, None),
        ("0/2", None, 2),
        ("0/4", 3, 4),
    ]


def test_the_view_of_two_parts_is_read_by_index_for_a_range_of_time(target, mapping):
    Registry(mapping).ensure(target, needs(*(f"k{n}" for n in range(1037))))
    for part, column in (("ship-1__1", "k0"), ("ship-1__2", "k1036")):
        target.execute(
            sql.SQL(
                "INSERT INTO wide.{} (created_time, _lsn, {})"
                " SELECT timestamp '2024-01-01' + n * interval '1 min', '0/1', n FROM generate_series(1, 100000) n"
            ).format(sql.Identifier(part), sql.Identifier(column))
        )
    target.execute("ANALYZE")
    query = (
        "EXPLAIN SELECT * FROM wide.\"ship-1\" WHERE created_time >= '2024-01-02' AND created_time < '2024-01-02 01:00'"
    )
    assert "Seq Scan" not in "\n".join(line for (line,) in target.execute(query))


WAITS_FOR_TABLE = """SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'relation'
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"""


def test_a_reader_in_the_way_is_waited_for_in_short_attempts(target, database, mapping):
    registry = Registry(mapping)
    registry.ensure(target, needs("a"))
    with connect(database) as reader:
        reader.execute('SELECT * FROM wide."ship-1"')
        maker = threading.Thread(target=registry.ensure, args=[target, needs("b")])
        maker.start()
        try:
            with connect(database, autocommit=True) as watcher:
                watcher.execute("SET statement_timeout = '60s'")
                until(lambda: watcher.execute(WAITS_FOR_TABLE).fetchone() == (True,))
                # Others can read meanwhile: nobody queues for long behind the attempt to lock.
                for _ in range(20):
                    watcher.execute('SELECT count(*) FROM wide."ship-1"')
            assert maker.is_alive()
        finally:
            reader.rollback()
            maker.join()
    assert columns_of(target, "ship-1")[2:] == ["a", "b"]


def test_a_lock_that_stays_halts_with_a_name(target, database, mapping, monkeypatch):
    monkeypatch.setattr(ddl_lock, "GIVE_UP_AFTER", 0.5)
    registry = Registry(mapping)
    registry.ensure(target, needs("a"))
    with connect(database) as reader:
        reader.execute('SELECT * FROM wide."ship-1"')
        with pytest.raises(Halt, match="repeated_failure"):
            registry.ensure(target, needs("b"))


def test_reject_makes_nothing(target, mapping):
    registry = Registry(replace(mapping, unknown_key="reject"))
    assert registry.ensure(target, needs("a")) == {('["ship-1"]', "a"): ("unknown_key", "no column for it")}
    assert target.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'ship%'").fetchone() == (0,)


def test_reject_takes_what_was_made_by_hand(target, mapping):
    Registry(mapping).ensure(target, needs("a"))
    registry = Registry(replace(mapping, unknown_key="reject"))
    assert registry.ensure(target, needs("a")) == {}
    assert "a" in registry.entities['["ship-1"]'].columns


def test_one_table_for_all_has_the_entity_in_its_key(target, single):
    registry = Registry(single)
    registry.ensure(target, [*needs("a", entity="ship-1"), *needs("b", entity="ship-2")])
    assert columns_of(target, "ships") == ["ship_id", "created_time", "_lsn", "a", "b"]
    assert list(registry.entities) == ["[]"]


def test_somebody_else_s_table_is_left_alone(target, mapping):
    target.execute('CREATE SCHEMA wide; CREATE TABLE wide."ship-1" (x int)')
    registry = Registry(mapping)
    registry.ensure(target, needs("a"))
    assert registry.entities['["ship-1"]'].view != "ship-1"
    assert columns_of(target, "ship-1") == ["x"]


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ('DROP TABLE wide."ship-1__1" CASCADE', 'table "wide"."ship-1__1" is gone'),
        ('ALTER TABLE wide."ship-1__1" DROP COLUMN b CASCADE', 'column "b" of "wide"."ship-1__1" is gone'),
        ('DROP VIEW wide."ship-1"; ALTER TABLE wide."ship-1__1" ALTER b TYPE text', "is now text"),
        ('ALTER TABLE wide."ship-1__1" RENAME b TO c', 'column "b"'),
    ],
)
def test_a_target_that_somebody_changed_halts_and_names_it(target, mapping, statement, named):
    registry = Registry(mapping)
    registry.ensure(target, needs("a", "b"))
    registry.check(target)
    target.execute(statement)
    with pytest.raises(Halt) as halted:
        registry.check(target)
    assert halted.value.cause is Cause.TARGET_CHANGED
    assert named in halted.value.what


def test_a_type_s_name_that_hides_a_statement_is_refused(target, mapping):
    evil = "float8); DROP SCHEMA widebeam CASCADE; --"
    with pytest.raises(Exception, match=r"syntax error|invalid type name"):
        Registry(mapping).ensure(target, [each._replace(type=evil) for each in needs("a")])
    assert target.execute("SELECT count(*) FROM widebeam.connectors").fetchone() == (1,)


def test_many_entities_are_made_in_portions_each_in_a_transaction_of_its_own(target, mapping, monkeypatch):
    """A table that is made stays locked to the end of its transaction, and there is room for so many locks only."""
    monkeypatch.setattr(extension, "AT_ONCE", 3)
    registry = Registry(replace(mapping, columns_per_hour=12))
    wanted = [need for n in range(7) for need in needs("a", "b", entity=f"ship-{n}")]
    refused = registry.ensure(target, wanted[::2] + wanted[1::2])
    assert {place for place, (reason, _) in refused.items()} == {('["ship-6"]', "a"), ('["ship-6"]', "b")}
    assert [columns_of(target, f"ship-{n}")[2:] for n in range(6)] == [["a", "b"]] * 6
    made = "SELECT count(DISTINCT xmin::text) FROM widebeam.tables"
    assert target.execute(made).fetchone() == (2,)


def test_what_is_there_of_other_entities_is_not_read_for_one(target, mapping):
    """With thousands of entities that would take longer than to make a column."""
    Registry(mapping).ensure(target, [*needs("a", entity="ship-1"), *needs("a", entity="ship-2")])
    registry = Registry(mapping)
    registry.ensure(target, needs("b", entity="ship-1"))
    assert list(registry.entities) == ['["ship-1"]']
    registry.refresh(target)
    assert sorted(registry.entities) == ['["ship-1"]', '["ship-2"]']


def test_a_lock_that_is_in_the_way_of_one_portion_undoes_none_of_those_before(target, database, mapping, monkeypatch):
    monkeypatch.setattr(extension, "AT_ONCE", 1)
    monkeypatch.setattr(ddl_lock, "GIVE_UP_AFTER", 0.5)
    registry = Registry(mapping)
    registry.ensure(target, needs("a", entity="ship-2"))
    with connect(database) as reader:
        reader.execute('SELECT * FROM wide."ship-2"')
        with pytest.raises(Halt, match="repeated_failure"):
            registry.ensure(target, [*needs("a", entity="ship-1"), *needs("b", entity="ship-2")])
    assert columns_of(target, "ship-1")[2:] == ["a"]
    registry.ensure(target, needs("b", entity="ship-2"))
    assert columns_of(target, "ship-2")[2:] == ["a", "b"]


def test_a_column_that_was_made_as_a_domain_takes_a_null_again(target, mapping):
    target.execute("CREATE DOMAIN public.reading AS numeric NOT NULL DEFAULT 7 CHECK (VALUE > 0)")
    registry = Registry(mapping)
    registry.ensure(target, [Need(("ship-1",), "a", "double_v", "public.reading"), *needs("b")])
    target.execute("INSERT INTO wide.\"ship-1__1\" VALUES ('2024-01-01', '0/1', 1.5, 2)")
    before = target.execute("SELECT pg_relation_filenode('wide.\"ship-1__1\"')").fetchone()
    Registry(mapping).ensure(target, needs("c"))  # what another process adds meanwhile stays in the view
    registry.leave_domains(target)
    target.execute('UPDATE wide."ship-1__1" SET a = NULL')
    assert target.execute("SELECT pg_relation_filenode('wide.\"ship-1__1\"')").fetchone() == before
    assert registry.entities['["ship-1"]'].columns["a"].type == "numeric"
    assert columns_of(target, "ship-1") == ["created_time", "_lsn", "a", "b", "c"]
    registry.check(target)


def test_a_column_that_somebody_shows_keeps_its_domain(target, mapping):
    target.execute("CREATE DOMAIN public.reading AS numeric")
    registry = Registry(mapping)
    registry.ensure(target, [Need(("ship-1",), "a", "double_v", "public.reading")])
    target.execute('CREATE VIEW wide.theirs AS SELECT a FROM wide."ship-1"')
    registry.leave_domains(target)
    assert registry.entities['["ship-1"]'].columns["a"].type == "public.reading"
    registry.check(target)


GIVEN = """
CREATE ROLE {reader}; CREATE ROLE {owner};
CREATE FUNCTION public.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
GRANT SELECT (created_time, a), UPDATE (a) ON wide."ship-1" TO {reader} WITH GRANT OPTION;
COMMENT ON VIEW wide."ship-1" IS 'mine; it''s 100 %';
COMMENT ON COLUMN wide."ship-1".a IS 'level';
ALTER VIEW wide."ship-1" SET (security_barrier = true);
ALTER VIEW wide."ship-1" ALTER COLUMN a SET DEFAULT 7;
CREATE TRIGGER kept INSTEAD OF INSERT ON wide."ship-1" FOR EACH ROW EXECUTE FUNCTION public.nothing();
ALTER VIEW wide."ship-1" OWNER TO {owner};
GRANT SELECT ON wide."ship-1" TO PUBLIC;
"""
HELD = """
SELECT relacl::text, reloptions, obj_description(oid), pg_get_userbyid(relowner), relhastriggers,
    (SELECT array_agg((attname, attacl::text, col_description(oid, attnum), atthasdef)::text ORDER BY attnum)
     FROM pg_attribute WHERE attrelid = oid AND attnum BETWEEN 1 AND 3)
FROM pg_class WHERE oid = 'wide."ship-1"'::regclass
"""


def test_a_view_keeps_what_somebody_gave_it(target, mapping):
    """Beside a new column, where it is widened, and where it is renamed and back."""
    mapping = replace(mapping, type_conflict="widen")
    registry = Registry(mapping)
    roles = {each: sql.Identifier(f"{each}_{target.info.dbname}") for each in ("reader", "owner")}
    registry.ensure(target, needs("a", "b", source="long_v"))
    target.execute(sql.SQL(GIVEN).format(**roles).as_bytes(target))
    before = target.execute(HELD).fetchone()
    registry.ensure(target, needs("c"))
    assert target.execute(HELD).fetchone() == before
    registry.ensure(target, needs("b", source="str_v"))
    assert target.execute(HELD).fetchone() == before
    registry.rename(target, lambda: {"a": "z"})
    renamed = target.execute(HELD).fetchone()
    assert renamed[:5] == before[:5]
    assert renamed[5] == [each.replace("(a,", "(z,") for each in before[5]]
    target.execute(sql.SQL("DROP OWNED BY {reader}, {owner}; DROP ROLE {reader}, {owner}").format(**roles))


def test_a_view_shows_what_came_about_beside_a_column_that_was_widened(target, mapping):
    """In one making: the view is made anew around the wider column, from what is known."""
    registry = Registry(replace(mapping, type_conflict="widen"))
    registry.ensure(target, needs("a", source="long_v"))
    assert registry.ensure(target, [*needs("new"), *needs("a", source="str_v"), *needs("last")]) == {}
    assert columns_of(target, "ship-1") == ["created_time", "_lsn", "a", "new", "last"]
    types = {key: column.type for key, column in registry.entities['["ship-1"]'].columns.items()}
    assert types == {"a": "text", "new": "double precision", "last": "double precision"}


def test_who_may_only_connect_keeps_no_column_from_being_made(target, database, mapping):
    """An advisory lock could be held by anybody, and a table of ours can be locked by nobody else."""
    with psycopg.connect(database, autocommit=True) as other:
        other.execute(
            "SELECT pg_advisory_lock(hashtext('widebeam.columns')), pg_advisory_lock(hashtext('widebeam.types'))"
        )
        other.execute("DO $$ BEGIN CREATE ROLE wb_nobody; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        other.execute("SET ROLE wb_nobody")
        for table in ("turn_columns", "turn_types"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), other.transaction():
                other.execute(f"LOCK TABLE widebeam.{table} IN ACCESS SHARE MODE")
        registry = Registry(mapping)
        registry.refresh(target)
        with target.transaction():
            target.execute("SET LOCAL statement_timeout = '20s'")
            ddl_lock.take(target)
            ddl_lock.stop_the_others(target)
        assert registry.ensure(target, needs("new")) == {}


@pytest.mark.parametrize("partition_by", [None, "day"])
def test_a_large_table_is_only_rewritten_for_who_says_so(target, mapping, partition_by):
    mapping = replace(mapping, type_conflict="widen", partition_by=partition_by)
    registry = Registry(mapping, rewrites=0)
    assert registry.ensure(target, needs("a", source="long_v")) == {}
    if partition_by is not None:
        target.execute(
            "CREATE TABLE wide.d PARTITION OF wide.\"ship-1__1\" FOR VALUES FROM ('2024-01-01') TO (MAXVALUE)"
        )
    target.execute("INSERT INTO wide.\"ship-1__1\" VALUES ('2024-01-01', '0/1', 1)")
    refused = registry.ensure(target, [*needs("a", source="str_v"), *needs("b")])
    assert [key for _, key in refused] == ["a"]
    assert "widebeam quarantine retry ships --widen" in refused['["ship-1"]', "a"][1]
    assert registry.entities['["ship-1"]'].columns["a"].type == "bigint"
    assert Registry(mapping, rewrites=None).ensure(target, needs("a", source="str_v")) == {}
    assert target.execute('SELECT a FROM wide."ship-1"').fetchone() == ("1",)
