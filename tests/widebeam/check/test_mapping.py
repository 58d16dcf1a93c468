"""Preconditions of the mapping language on a real database: what does not fit is found, with what mends it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from widebeam.check.check import findings
from widebeam.check.mapping import keys_apart
from widebeam.config.config import load
from widebeam.config.connector import Connector
from widebeam.finding import Finding
from widebeam.plan.keys import Reach

TABLES = """
CREATE TABLE a (place text, tag int, at bigint, v float8, PRIMARY KEY (place, tag, at));
CREATE TABLE b (place text, tag int, at bigint, v text, PRIMARY KEY (place, tag, at));
CREATE TABLE tags (id int, name text, language text);
INSERT INTO tags VALUES (1, 'speed', 'en'), (2, 'power', 'en');
"""

FILE = """
[source]
dsn = "{dsn}"
tables = ["public.a", "public.b"]
entity = ["place"]
time = "at"
time_form = "epoch_ms"
key = "name"
[source.dictionary]
column = "tag"
query = "SELECT id, name FROM public.tags"
[source.value]
columns = ["v"]
[target]
dsn = "{dsn}"
layout = "single"
"""

Make = Callable[..., Connector]


@pytest.fixture
def make(tmp_path: Path, database: str) -> Make:
    """The connector, with parts of its file replaced, over tables that `script` has changed; None: as they are."""

    def make(script: str | None = "", **replaced: str) -> Connector:
        if script is not None:
            with psycopg.connect(database, autocommit=True) as session:
                session.execute(f"{TABLES}{script}".encode())
        text = FILE.format(dsn=database)
        for old, new in replaced.items():
            before = {line.split(" = ")[0]: line for line in text.splitlines() if " = " in line}[old]
            text = text.replace(before, new)
        file = tmp_path / "mapped.toml"
        file.write_text(text)
        return load(str(file), {})

    return make


def said(found: list[Finding]) -> str:
    return "\n".join(map(str, found))


def test_a_family_with_a_dictionary_has_no_findings(make):
    assert findings(make()) == []


def test_two_ids_of_one_name_are_two_keys_for_one_column(make):
    connector = make("UPDATE tags SET name = 'speed';")
    (finding,) = findings(connector)
    assert "1 names stand for more than one id" in finding.what and "speed" in finding.what
    assert 'several = "last"' in finding.remedy and "a WHERE in `query`" in finding.remedy
    assert findings(make(None, query='query = "SELECT id, name FROM public.tags WHERE id = 1"')) == []


def test_two_ids_of_one_name_are_two_columns_where_the_id_is_a_part_of_the_key(make):
    assert findings(make("INSERT INTO tags VALUES (3, 'speed', 'en')", key='key = ["name", "tag"]')) == []


def test_two_ids_of_one_name_may_meet_where_it_is_said_what_holds_then(make):
    assert findings(make("UPDATE tags SET name = 'speed';", key='key = "name"\nseveral = "last"')) == []


ROWS = """
INSERT INTO a SELECT 'here', 1, n, n FROM generate_series(1, 500) n;
INSERT INTO b SELECT 'here', {tag}, n, n + {more} FROM generate_series({first}, {first} + 500) n;
ANALYZE a; ANALYZE b;
"""


def test_two_tables_that_fill_one_cell_are_found_with_both_values_and_the_way_out(make):
    (finding,) = findings(make(ROWS.format(tag=1, first=500, more=7)))
    assert finding.what == (
        "public.a and public.b fill one cell with different values: 'speed' of (here, 1970-01-01 00:00:00.5+00)"
        " (public.a: 500; public.b: 507)"
    )
    assert 'several = "first" or "last"' in finding.remedy and "`table_pattern`" in finding.remedy
    assert findings(make(None, key='key = "name"\nseveral = "first"')) == []
    apart = 'tables = ["public.a", "public.b"]\ntable_pattern = "^(.)$"'
    assert findings(make(None, key='key = ["table", "name"]', tables=apart)) == []


@pytest.mark.parametrize(
    ("tag", "first", "more"), [(2, 1, 7), (1, 501, 7), (1, 1, 0)], ids=["other keys", "another month", "an archive"]
)
def test_tables_that_fill_other_cells_or_the_same_with_the_same_are_no_finding(make, tag, first, more):
    assert findings(make(ROWS.format(tag=tag, first=first, more=more))) == []


def test_tables_that_are_too_big_to_be_read_are_looked_up_by_their_keys(make, monkeypatch):
    monkeypatch.setattr("widebeam.plan.keys.SAMPLE_ROWS", 10)
    monkeypatch.setattr("widebeam.check.cells._REACH", Reach(60, 1_000, 2))
    (finding,) = findings(make(ROWS.format(tag=1, first=3, more=7)))  # neither one's ends are the other's
    assert "fill one cell with different values: 'speed' of (here, " in finding.what


def test_two_raw_keys_that_are_joined_to_one_are_found_in_one_table(make):
    keys = "ALTER TABLE a ADD unit text DEFAULT 'x', DROP CONSTRAINT a_pkey, ADD PRIMARY KEY (place, tag, unit, at);"
    keys += "INSERT INTO a VALUES ('here', 1, 1, 5, 'x'), ('here', 2, 1, 6, 'x');"
    connector = make(
        keys + "UPDATE tags SET name = 'a';",
        key='key = ["name", "unit"]',
        tables='tables = ["public.a"]',
    )
    found = findings(connector)
    assert "several rows of public.a fill one cell with different values: 'a/x' of (here, " in said(found)


def test_an_id_with_two_names_is_found(make):
    (finding,) = findings(make("INSERT INTO tags VALUES (1, 'vitesse', 'fr');"))
    assert "names 1 ids more than once: 1" in finding.what and "a WHERE in `query`" in finding.remedy
    query = """query = "SELECT id, name FROM public.tags WHERE language = 'en'\""""
    assert findings(make(None, query=query)) == []


def test_a_dictionary_that_cannot_be_read_is_found(make):
    (finding,) = findings(make("ALTER TABLE tags RENAME TO labels;"))
    assert 'relation "public.tags" does not exist' in finding.what and "mend `query`" in finding.remedy
    assert findings(make(None, query='query = "SELECT id, name FROM public.labels"')) == []


def test_a_time_of_another_form_is_found_with_the_option_that_fits(make):
    script = "".join(f"ALTER TABLE {table} ALTER at TYPE timestamptz USING to_timestamp(at);" for table in "ab")
    found = findings(make(script))
    assert "public.a.at is a timestamp with time zone, and `time_form` is for" in said(found)
    assert "leave time_form out" in said(found)
    assert findings(make(None, time_form="")) == []


def test_a_time_of_a_domain_of_another_form_is_found_with_the_option_that_fits(make):
    """Its type stays: what the domain demands is the application's affair."""
    script = "".join(f"ALTER TABLE {table} ALTER at TYPE moment;" for table in "ab")
    found = findings(make(f"CREATE DOMAIN moment AS real CHECK (value > 0); {script}"))
    assert 'time_form = "epoch_float"' in said(found) and "ALTER TABLE" not in said(found)
    assert findings(make(None, time_form='time_form = "epoch_float"')) == []


@pytest.mark.parametrize("kind", ["interval", "jsonb", "numeric[]"])
def test_entities_that_can_be_equal_without_being_the_same_text_are_refused(make, kind):
    alter = "".join(f"ALTER TABLE {table} ALTER place TYPE {kind} USING NULL;" for table in "ab")
    (finding,) = findings(make(alter))
    assert f"is of type {kind}" in finding.what and "per_entity" in finding.remedy
    assert findings(make(None, layout='layout = "per_entity"')) == []


def test_numbers_that_are_equal_are_one_entity(make):
    alter = "".join(f"ALTER TABLE {table} ALTER place TYPE numeric USING NULL;" for table in "ab")
    assert findings(make(f"{alter} INSERT INTO a VALUES (1.0, 1, 7, 1), (1.00, 2, 7, 1);")) == []


def test_a_time_of_a_domain_is_what_the_domain_is_made_of(make):
    script = "".join(f"ALTER TABLE {table} ALTER at TYPE moment;" for table in "ab")
    assert findings(make(f"CREATE DOMAIN moment AS bigint NOT NULL; {script}")) == []


def test_a_time_zone_for_a_time_that_has_one_is_found(make):
    script = "".join(f"ALTER TABLE {table} ALTER at TYPE timestamptz USING to_timestamp(at);" for table in "ab")
    found = findings(make(script, time_form='time_zone = "Europe/Oslo"'))
    assert "and `time_zone` is for timestamp without time zone" in said(found)


def test_tables_whose_entities_differ_cannot_share_wide_tables(make):
    found = findings(make("ALTER TABLE b ALTER place TYPE varchar(9);"))
    assert "They cannot fill the same wide tables" in said(found)


def test_a_table_of_the_family_that_is_gone_is_named(make):
    assert "the table public.b does not exist" in said(findings(make("DROP TABLE b;")))


def test_a_pattern_that_matches_nothing_is_found(make):
    found = findings(make(tables='tables = ["public.reading_%"]'))
    assert "no table matches public.reading_%" in said(found)


def test_a_table_without_a_number_in_its_name_is_found(make):
    found = findings(make(tables='tables = ["public.a"]\ntable_pattern = "^item(.+)$"'))
    assert "public.a does not match `table_pattern`" in said(found)


def test_a_column_of_numbers_needs_no_reading_of_texts(make):
    found = findings(make(columns='columns = ["v"]\nnumbers = ["v"]'))
    assert "`numbers` v of public.a is a double precision" in said(found) and "take v out of" in said(found)


def test_a_surrogate_key_is_enough_for_nothing_and_the_remedy_mends_it(database, make):
    script = "ALTER TABLE a DROP CONSTRAINT a_pkey; ALTER TABLE a ADD id serial PRIMARY KEY;"
    connector = make(script, key='key = "name"\nseveral = "last"\norder_by = ["place"]')
    (finding,) = findings(connector)
    assert "the replica identity of public.a carries only (id)" in finding.what
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(finding.remedy.encode())
    assert findings(connector) == []


def test_a_new_table_of_a_pattern_is_no_finding_where_it_can_join_by_itself(database, make):
    connector = make("CREATE TABLE c_1 (LIKE a INCLUDING ALL);", tables='tables = ["public.c_%"]')
    with psycopg.connect(database, autocommit=True) as session:
        session.execute(f"CREATE PUBLICATION {connector.publication} FOR TABLE c_1")
        session.execute("CREATE TABLE c_2 (LIKE a INCLUDING ALL)")
        assert findings(connector) == []


def test_a_table_that_only_matches_a_pattern_and_lacks_a_column_is_none_of_ours(make):
    script = "CREATE TABLE c_1 (LIKE a INCLUDING ALL); CREATE TABLE c_archive (note text);"
    assert findings(make(script, tables='tables = ["public.c_%"]')) == []


def test_check_says_all_as_json_and_mistakes_in_the_file_too(make, tmp_path):
    connector = make("UPDATE tags SET name = 'speed';")
    code, found = checked(connector.file)
    assert code == 1 and [one["what"].split(" stand")[0] for one in found] == ["1 names"]
    assert all(set(one) == {"what", "where", "remedy"} for one in found)
    connector.file.write_text(connector.file.read_text().replace("time_form", "time_from"))
    code, found = checked(connector.file)
    assert code == 2 and "did you mean `time_form`?" in found[0]["what"]


def checked(file: Path) -> tuple[int, list[dict[str, str]]]:
    done = subprocess.run(
        [sys.executable, "-m", "widebeam", "check", "--json", str(file)], capture_output=True, check=False
    )
    return done.returncode, json.loads(done.stdout)


def test_what_joins_keys_and_measures_has_to_tell_them_apart(tmp_path):
    measured = FILE.format(dsn="host=h").replace('["v"]', '["c", "b.c"]\nmeasures = true')
    measured = measured.replace('key = "name"', 'key = ["name", "tag"]\nkey_separator = ""')
    (tmp_path / "apart.toml").write_text(measured)
    both = list(keys_apart(None, load(str(tmp_path / "apart.toml"), {})))
    found = said(both)
    assert "with an empty `key_separator` the keys (ab, c) and (a, bc) would be one column" in found
    assert "a reading of b.c and one of c could be in one column" in found
    joined, measure = (re.findall(r'^\w+ = ".*?"', each.remedy)[0] for each in both)
    written = measured.replace('key_separator = ""', joined).replace("measures = true", f"measures = true\n{measure}")
    assert '"/"' in joined and '":"' in measure
    (tmp_path / "apart.toml").write_text(written)
    assert list(keys_apart(None, load(str(tmp_path / "apart.toml"), {}))) == []
