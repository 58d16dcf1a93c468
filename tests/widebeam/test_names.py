"""Names that look like something else to a program on the way: none of them is read as anything but a name."""

from __future__ import annotations

from tests.plant import Plant

DOTTED = """
[source]
dsn = "{dsn}"
tables = ['"a.b".c', "a.b.c"]
entity = ["e"]
time = "at"
key = "k"
[source.value]
columns = ["v"]
[target]
dsn = "{dsn}"
[backfill]
chunk_rows = 2
"""


def test_two_tables_whose_names_join_to_the_same_words_are_two(database, tmp_path):
    plant = Plant(database, tmp_path / "dots.toml", DOTTED.format(dsn=database))
    for name, entity in (('"a.b".c', "one"), ('a."b.c"', "two")):
        plant.execute(
            f"CREATE SCHEMA {name.rpartition('.')[0] if entity == 'one' else 'a'};"
            f"CREATE TABLE {name} (e text, at timestamptz, k text, v float8, PRIMARY KEY (e, at, k));"
            f"INSERT INTO {name} SELECT '{entity}', '2024-01-01'::timestamptz + n * interval '1 h', 'x', n"
            " FROM generate_series(1, 5) AS n"
        )
    plant.prepare()
    with plant.streaming():
        plant.backfill()
        plant.execute("""UPDATE "a.b".c SET v = v + 10; DELETE FROM a."b.c" WHERE v > 3""")
    assert plant.execute("SELECT x FROM wide.one ORDER BY 1") == [(11.0,), (12.0,), (13.0,), (14.0,), (15.0,)]
    assert plant.execute("SELECT x FROM wide.two ORDER BY 1") == [(1.0,), (2.0,), (3.0,)]
    assert plant.verify().differences == 0
