"""Values come out as they went in, to the byte: through the backfill, and through the stream, inserted and updated."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.schemas.fixture import Fixture

RANDOM = random.Random(19848)

FLOATS = [
    "NaN", "Infinity", "-Infinity", "-0", "0", "0.30000000000000004", "0.1", "1e22", "1e23", "5e-324",
    "1.7976931348623157e308", "2.2250738585072014e-308", "9007199254740993", "123456789.12345678", "-1e-7",
    *(repr(value) for value in struct.unpack("40d", RANDOM.randbytes(320)) if value == value),
]  # fmt: skip
TEXTS = [
    "", " ", "a\tb", "a\nb", "\n", "\r\n", "\\", "\\\\", "\\N", "\\.", "\\t", "a\\", "NULL", "null", "false", "~", '"',
    "'", '{"a": 1}', "[]", "\x01\x08\x0b\x0c\x1f\x7f", "\u0085\u2028\u2029\ufeff\u200b", "온도", "😀👩‍🚀", "e\u0301",
    "é", "trailing  ", "a" * 9000, "\\N\n\\.\n\t" * 2000,
]  # fmt: skip
TIMES = ["infinity", "-infinity", "0044-03-15 12:00:00.000001 BC", "4713-01-01 00:00:00 BC",
         "1969-12-31 23:59:59.999999", "294276-12-31 23:59:59.999999", "2024-02-29 00:00:00"]  # fmt: skip

# Of each type: the function that gives a value's bytes, and values.
TYPES: dict[str, tuple[str, str, list[str]]] = {
    "f": ("double precision", "float8send", FLOATS),
    "r": ("real", "float4send", ["NaN", "-0", "16777217", "1.17549435e-38", "3.4028235e38", "0.1"]),
    "i": ("bigint", "int8send", ["9007199254740993", "-9007199254740993", str(2**63 - 1), str(-(2**63)), "0"]),
    "s": ("text", "textsend", TEXTS),
    "b": ("boolean", "boolsend", ["t", "f"]),
    "n": ("numeric", "numeric_send", ["NaN", "Infinity", "-Infinity", "0.000", "1e-300", "12345678901.10", "1e400"]),
    "t": ("timestamp without time zone", "timestamp_send", TIMES),
    "z": ("timestamp with time zone", "timestamptz_send", [*TIMES, "2024-01-01 00:00:00.5+14"]),
    "d": ("date", "date_send", ["infinity", "-infinity", "4713-01-01 BC", "5874897-12-31", "2024-02-29"]),
    "v": ("interval", "interval_send", ["-1 year 2 mons -3 days 04:05:06.789", "00:00:00", "-00:00:00.000001"]),
    "x": ("bytea", "byteasend", ["", "\\x00", "\\x" + bytes(range(256)).hex()]),
    "j": ("jsonb", "jsonb_send", ['{"a": "\\n\\\\N", "b": [1e400, null]}', "false", "null", '"\\ud83d\\ude00"']),
}  # fmt: skip

KEYS = [
    "온도", "🌡️ 기관실", "a b", "'", '"', "\\", "\\N", "%s", "{}", "$1", "kN", "KN", "id", "value", "_lsn", "moment",
    "tableoid", "select", "e\u0301", "é", "x" * 63, "x" * 64, "x" * 63 + "y", "가" * 21, "가" * 22, "//", "NULL", "~",
]  # fmt: skip
ENTITIES = {"한국 배 🚢", 'O\'Brien \\N "x"', "e" * 100}

FILE = """
[source]
dsn = "{dsn}"
table = "odd.readings 읽기"
entity = ["entity"]
time = "moment"
key = "key"
{rule}
[source.value]
columns = [{columns}]
[target]
dsn = "{dsn}"
{kafka}
"""
NARROW = sql.Identifier("odd", "readings 읽기")


def columns() -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, TYPES))


@pytest.fixture(params=["direct", "kafka", "reread"])
def pipeline(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> Fixture:
    section, rule = "", ""
    if request.param == "reread":  # row by row through the rules, and read again from the source
        rule = 'several = "last"\norder_by = ["key"]'
    if request.param == "kafka":
        bootstrap, topic = request.getfixturevalue("kafka").bootstrap, request.getfixturevalue("topic")
        section = f'[kafka]\nbootstrap_servers = "{bootstrap}"\ntopic = "{topic}"\npartitions = 2\n'
    file = tmp_path / "fidelity.toml"
    names = ", ".join(f'"{name}"' for name in TYPES)
    file.write_text(FILE.format(dsn=database, columns=names, kafka=section, rule=rule))
    made = Fixture("fidelity", database, tmp_path, connector=file)
    with made.session() as session:
        fields = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, (kind, _, _) in TYPES.items()
        )
        session.execute("CREATE SCHEMA odd")
        session.execute(
            sql.SQL(
                "CREATE TABLE {} (entity text, moment timestamp, key text, {}, PRIMARY KEY (entity, moment, key))"
            ).format(NARROW, fields)
        )
    return made


def write(session: psycopg.Connection, entity: str, moments: str) -> None:
    """Each value in a moment of its own, and each key in a moment that is none of the calendar's."""
    insert = sql.SQL(
        "INSERT INTO {} (entity, moment, key, {}) VALUES (%s, %s::timestamp + %s * interval '1 us', %s, %s)"
    )
    with session.transaction(), session.cursor() as cursor:
        for name, (_, _, values) in TYPES.items():
            statement = insert.format(NARROW, sql.Identifier(name))
            rows = [(entity, moments, number, f"of type {name}", value) for number, value in enumerate(values)]
            cursor.executemany(statement, rows)
        statement = insert.format(NARROW, sql.Identifier("s"))
        cursor.executemany(statement, [(entity, moments, number, key, key) for number, key in enumerate(KEYS)])
        rows = [(entity, moment, 0, f"from {moments}", text) for moment in TIMES for text in ("\\N\t\n",)]
        cursor.executemany(statement, rows)


def narrow(pipeline: Fixture) -> dict[tuple[str, str, str], bytes]:
    sent = sql.SQL(", ").join(
        sql.SQL("{}({})").format(sql.SQL(send), sql.Identifier(name)) for name, (_, send, _) in TYPES.items()
    )
    query = sql.SQL("SELECT entity, moment::text, key, coalesce({}) FROM {}").format(sent, NARROW)
    with pipeline.session() as session:
        return {(entity, moment, key): value for entity, moment, key, value in session.execute(query).fetchall()}


def wide(pipeline: Fixture) -> dict[tuple[str, str, str], bytes]:
    """Column by column, as its type sends it; the type has to be the narrow column's own."""
    send = {kind: function for kind, function, _ in TYPES.values()}
    cells = {}
    with pipeline.session() as session:
        for entity, key, column, kind, schema, view in session.execute(
            "SELECT entity::jsonb ->> 0, key, column_name, column_type, schema_name, view_name "
            "FROM widebeam.columns JOIN widebeam.tables USING (connector, entity, part)"
        ).fetchall():
            query = sql.SQL("SELECT moment::text, {}({c}) FROM {} WHERE {c} IS NOT NULL").format(
                sql.SQL(send[kind]), sql.Identifier(schema, view), c=sql.Identifier(column)
            )
            cells |= {(entity, moment, key): value for moment, value in session.execute(query).fetchall()}
    return cells


def test_values_survive_backfill_and_stream_to_the_byte(pipeline: Fixture) -> None:
    first, second, third = sorted(ENTITIES)
    with pipeline.session() as session:
        for entity in (first, second):
            write(session, entity, "2024-01-01")
    pipeline.converge()
    assert wide(pipeline) == narrow(pipeline)
    with pipeline.session() as session:
        write(session, third, "2024-01-01")
        write(session, first, "2024-01-02")
        # The same values again, by update: to something else, and back in another transaction.
        swap = sql.SQL(
            "UPDATE {} SET s = CASE s WHEN 'else' THEN key ELSE 'else' END WHERE entity = %s AND s = ANY(%s)"
        )
        for _ in range(2):
            session.execute(swap.format(NARROW), [second, [*KEYS, "else"]])
        # Values out of line, which the log leaves out of an update that does not touch them.
        session.execute(sql.SQL("UPDATE {} SET moment = moment + interval '1 h' WHERE length(s) > 8000").format(NARROW))
    pipeline.converge()
    found, wanted = wide(pipeline), narrow(pipeline)
    assert {entity for entity, _, _ in wanted} == ENTITIES
    assert {cell: value for cell, value in found.items() if wanted.get(cell) != value} == {}
    assert found.keys() == wanted.keys()
    assert pipeline.ask("verify")["differences"] == 0
