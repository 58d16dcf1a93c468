"""Where a chunk begins and ends, as the source is asked for it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from psycopg import sql

from cdc.source.narrow import NarrowTable
from cdc.source.session import connect
from cdc.source.time_encoding import TimeRule
from sink.mapping.rule import Rule
from snapshot.chunks.chunk_key import scale
from snapshot.chunks.plan import Chunk
from snapshot.fill.reader import within

TABLE = NarrowTable("public", "r", ("e",), ("s", "ns"), ("k",), ("v",))


def test_a_chunk_has_all_rows_that_are_rounded_to_seconds_within_it(database: str) -> None:
    rule = Rule(TABLE, {"s": "integer", "ns": "integer"}, ("e",), ("k",), TimeRule("s_ns", bucket=100_000))
    with connect(database, autocommit=True) as session:
        session.execute("CREATE TABLE public.r (s int, ns int)")
        session.execute(
            "INSERT INTO public.r SELECT s, ns FROM generate_series(3, 6) s, unnest(ARRAY[0, 40000000, 949999999,"
            " 950000000, 1960000000]) ns UNION ALL VALUES (3, NULL), (NULL, 7)"
        )
        chunks = [Chunk(1, None, "5", 0), Chunk(2, "5", "6", 0), Chunk(3, "6", None, 0)]
        query = sql.SQL("SELECT s::text, ns::text FROM public.r WHERE {}")
        found = [session.execute(query.format(within(rule, each))).fetchall() for each in chunks]
    assert sum(map(len, found)) == 22, "each row is in one of them, those without a time, too"
    seconds = [{rule.time.seconds(row) for row in rows if None not in row} for rows in found]
    assert seconds == [{3, 4}, {5}, {6, 7, 8}]


def test_each_row_is_in_the_chunk_of_the_first_time_that_it_has(database: str) -> None:
    table = replace(TABLE, time=("at", "ts", "ms"))
    types = {"at": "timestamp with time zone", "ts": "double precision", "ms": "bigint"}
    either = (TimeRule(zoned=True), TimeRule("epoch_float"), TimeRule("epoch_ms"))
    rule = Rule(table, types, ("e",), ("k",), TimeRule(zoned=True, either=either), several="last")
    axis = scale(rule)
    assert axis is not None
    bounds = [axis.text(each * 1_000_000) for each in (-5, 100, 1000, 10**16)]
    with connect(database, autocommit=True) as session:
        session.execute("CREATE TABLE public.r (at timestamptz, ts float8, ms bigint)")
        session.execute(EVERY_TIME)
        chunks = [Chunk(n, *each, 0) for n, each in enumerate(pairwise([None, *bounds, None]))]
        query = sql.SQL("SELECT at::text, ts::text, ms::text FROM public.r WHERE {}")
        found = [session.execute(query.format(within(rule, each))).fetchall() for each in chunks]
        whole = session.execute("SELECT at::text, ts::text, ms::text FROM public.r").fetchall()
    assert sorted(map(str, (row for rows in found for row in rows))) == sorted(map(str, whole))
    for number, rows in enumerate(found):
        places = [int(rule.time.place(row)) for row in rows if rule.time.place(row)]
        assert {sum(place >= int(bound) for bound in bounds) for place in places} == {number}


EVERY_TIME = """
INSERT INTO public.r
SELECT at, ts, ms FROM
    unnest(ARRAY[NULL, 'epoch', 'infinity', '-infinity', '1970-01-01 00:01:40', '1970-01-01 00:16:39.999999',
                 '1970-01-01 00:16:40', '0044-03-15 BC', '12000-01-01']::timestamptz[]) AS at,
    unnest(ARRAY[NULL, -5, -5.0000004, -5.0000006, 99.9999994, 99.9999996, 1e12, 'NaN', 'infinity']::float8[]) AS ts,
    unnest(ARRAY[NULL, -5001, -5000, 99999, 100000, 9223372036854775807]) AS ms
"""
