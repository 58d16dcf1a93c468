"""Where a chunk begins and ends, as the source is asked for it."""

from __future__ import annotations

from psycopg import sql

from cdc.source.narrow import NarrowTable
from cdc.source.session import connect
from cdc.source.time_encoding import TimeRule
from sink.mapping.rule import Rule
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
