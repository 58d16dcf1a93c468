"""What a table's columns are made of."""

from __future__ import annotations

import psycopg
import pytest

from cdc.source.described import describe
from cdc.source.narrow import NarrowTable
from cdc.source.session import connect

MADE = """
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TYPE pair AS (a int, b int);
CREATE DOMAIN one AS numeric(5,2) NOT NULL DEFAULT 0;
CREATE DOMAIN two AS one CHECK (VALUE > -1000);
CREATE DOMAIN many AS integer[] NOT NULL;
CREATE DOMAIN mooded AS mood NOT NULL;
CREATE DOMAIN paired AS pair CHECK (VALUE IS NOT NULL);
"""


@pytest.mark.parametrize(
    ("declared", "base"),
    [("one", "numeric(5,2)"), ("two", "numeric(5,2)"), ("two[]", "numeric(5,2)[]"), ("many", "integer[]"),
     ("many[]", "public.many[]"), ("mooded", "public.mood"), ("paired", "public.pair"), ("pair[]", "public.pair[]"),
     ("character varying(3)", "character varying(3)"), ("int[]", "integer[]"), ("int2vector", "int2vector")],
)  # fmt: skip
def test_a_column_of_a_domain_is_of_what_the_domain_is_made_of(database: str, declared: str, base: str) -> None:
    with psycopg.connect(database) as admin:
        admin.execute(f"{MADE} CREATE TABLE public.n (e int, t int, k int, v {declared})".encode())
    with connect(database) as source:
        found = describe(source, NarrowTable("public", "n", ("e",), ("t",), ("k",), ("v",), ()))
    assert found.types["v"] == base
    assert found.types["k"] == "integer"
