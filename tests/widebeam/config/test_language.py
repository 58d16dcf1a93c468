"""The words of [source] become narrow tables and rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc.source.time_encoding import TimeRule
from widebeam.config.config import ConfigError, load
from widebeam.config.connector import Connector
from widebeam.config.select_list import select_list

CONNECTORS = Path(__file__).parents[3] / "connectors"


@pytest.fixture
def made(tmp_path: Path):
    def made(source: str, value: str = 'columns = ["v"]', more: str = "") -> Connector:
        file = tmp_path / "plant.toml"
        file.write_text(
            f'[source]\ndsn = "host=h"\n{source}\n[source.value]\n{value}\n[target]\ndsn = "host=h"\n{more}\n',
            encoding="utf-8",
        )
        return load(str(file), {})

    return made


PLAIN = 'table = "a.b"\nentity = ["e"]\ntime = "t"\nkey = "k"'


def test_a_dictionary_s_columns_shadow_real_ones_and_its_id_is_carried():
    thingsboard = load(str(CONNECTORS / "thingsboard.toml"), {})
    rule = thingsboard.family.rule(thingsboard.table, {})
    assert thingsboard.table.key == ("key",)
    assert rule.key == ("key",)
    assert rule.dictionary is not None
    assert rule.dictionary.names == ("key",)
    assert rule.time == TimeRule("epoch_ms", rounds=False)
    assert not rule.plain


def test_a_virtual_entity_leaves_the_time_alone_in_the_head():
    zabbix = load(str(CONNECTORS / "zabbix.toml"), {})
    assert zabbix.table.wide == ("clock", "ns")
    assert zabbix.table.carried == ("itemid", "value")
    assert zabbix.family.rule(zabbix.table, {}).entity == ("host",)


def test_the_table_s_name_is_a_column_and_tables_of_other_names_do_not_belong():
    family = load(str(CONNECTORS / "openhab.toml"), {}).family
    assert family.narrow("public", "items") is None
    assert family.narrow("other", "item0012") is None
    table = family.narrow("public", "item0012")
    assert table is not None
    assert table.key == ()
    assert family.rule(table, {}).table_value == "12"


def test_an_underscore_in_a_pattern_is_a_letter():
    family = load(str(CONNECTORS / "ignition.toml"), {}).family
    assert family.narrow("public", "sqlt_data_1_2024_01") is not None
    assert family.narrow("public", "sqltXdata_1_2024_01") is None


def test_labels_are_fields_where_the_key_does_not_say_otherwise(made):
    labels = PLAIN.replace('key = "k"', 'key = ["name", "host"]\nlabels = "labels"')
    rule = made(labels).family.rule(made(labels).table, {})
    assert (rule.fields, rule.key, rule.table.key) == ({"name", "host"}, ("name", "host"), ("labels",))
    dotted = PLAIN.replace('key = "k"', 'key = ["name", "labels.host"]\nlabels = "labels"')
    rule = made(dotted).family.rule(made(dotted).table, {})
    assert (rule.fields, rule.key, rule.table.key) == ({"host"}, ("name", "host"), ("name", "labels"))


def test_without_entity_or_time_one_table_holds_all(made):
    assert made(PLAIN.replace('["e"]', "[]")).layout == "single"
    assert made(PLAIN.replace('"t"', "[]")).layout == "single"
    with pytest.raises(ConfigError, match="needs both an entity and a time"):
        made(PLAIN.replace('["e"]', "[]"), more='layout = "per_entity"')


def test_filters_and_order_are_carried(made):
    connector = made(PLAIN + '\nwhere = { voided = ["f"], e = "1" }\nseveral = "last"\norder_by = ["id"]')
    assert connector.table.extra == ("voided", "id")
    rule = connector.family.rule(connector.table, {})
    assert rule.where == {"voided": frozenset(["f"]), "e": frozenset(["1"])}
    assert (rule.several, rule.order_by) == ("last", ("id",))


def test_buckets_place_by_the_rounded_time(made):
    connector = made(PLAIN + '\ntime_bucket = "15 s"\nseveral = "first"')
    place = connector.table.placed
    assert place(("s", "2024-01-01 00:00:07")) == place(("s", "2023-12-31 23:59:55")) == ("s", "2024-01-01 00:00:00")
    assert place(("s", "2024-01-01 00:00:08")) == ("s", "2024-01-01 00:00:15")
    assert place(("s", None)) == ("s", None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("", 'tables = ["a.c"]'), "either `table` or `tables`"),
        (('table = "a.b"', 'tables = ["b"]'), 'expected "schema.table"'),
        (('table = "a.b"', 'tables = ["%.b"]'), "a schema is named whole"),
        (('time = "t"', 'time = "t"\ntime_form = "s_ns"'), "has to name 2 columns"),
        (('time = "t"', 'time = ["t", "u"]'), "first of several columns"),
        (('time = "t"', 'time = ["t", "u"]\ntime_form = ["native"]'), "a form for each"),
        (('time = "t"', 'time = ["t", "u"]\ntime_form = ["native", "s_ns"]'), "has to name 2 columns"),
        (('time = "t"', 'time = "t"\ntime_form = "epoch_ms"\ntime_zone = "Europe/Oslo"'), "an epoch is UTC"),
        (('time = "t"', 'time = "t"\ntime_zone = "Europe/Osli"'), "the name of a time zone"),
        (('time = "t"', 'time = "t"\ntime_bucket = "15 seconds"'), "a span of time"),
        (('time = "t"', 'time = "t"\ntime_bucket = "15 s"'), "several readings can meet"),
        (('time = "t"', 'time = "t"\ntime_form = "YYYY-MM-DD HH:MM:SS pm"'), "or how a text writes it"),
        (('time = "t"', 'time = "t"\ntime_form = "YYYY-MM-DDTHH:MMZ"\ntime_zone = "Europe/Oslo"'), "say theirs"),
        (('entity = ["e"]\ntime = "t"', "entity = []\ntime = []"), "there are no rows"),
        (('key = "k"', "key = []"), "`key`"),
        (('key = "k"', 'key = "labels.*"'), "needs `labels`"),
        (('key = "k"', 'key = "k"\ntable_pattern = "x"'), "with a group"),
        (('key = "k"', 'key = "k"\ntable_pattern = "("'), "not a regular expression"),
        (('key = "k"', 'key = "k"\ndictionary = { column = "k", query = "SELECT id, upper(n) FROM d" }'), "`columns`"),
    ],
)
def test_what_cannot_be_is_said(made, change, said):
    before, after = change
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")):
        made(PLAIN.replace(before, after) if before else f"{PLAIN}\n{after}")


def test_a_table_that_is_named_whole_may_have_a_percent_sign_anywhere(made):
    assert made(PLAIN.replace("a.b", "100%.b%s")).table.qualified == "100%.b%s"


def test_values_that_contradict_are_said(made):
    with pytest.raises(ConfigError, match="takes every value column"):
        made(PLAIN, 'discriminator = "d"\ncolumns = { a = "v" }\nmeasures = true')
    with pytest.raises(ConfigError, match="none of `columns`"):
        made(PLAIN, 'columns = ["v"]\nnumbers = ["w"]')


def test_a_truncate_of_one_of_several_tables_cannot_be_applied(made):
    with pytest.raises(ConfigError, match="with several narrow tables"):
        made(PLAIN.replace('table = "a.b"', 'tables = ["a.b", "a.c"]'), more='[sink]\non_truncate = "apply"')


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("SELECT key_id, key FROM d", ["key_id", "key"]),
        ('select i.id::text, h."Host", f(x, y) AS path FROM t', ["id", "Host", "path"]),
        ("SELECT id, (SELECT max(a) FROM b) top, 'x' || y AS z -- FROM\nFROM c", ["id", "top", "z"]),
        ("SELECT count(*), name FROM c", ["", "name"]),
        ("SELECT id, upper(name) FROM c", None),
        ("SELECT id, a || b FROM c", None),
        ("SELECT * FROM c", [""]),
        ("SELECT id, * FROM c", None),
        ("TABLE c", None),
    ],
)
def test_the_names_of_a_query_s_columns_are_read_where_they_are_plain(query, names):
    assert select_list(query) == names


def test_a_virtual_entity_cannot_have_the_time_s_name(made):
    dictionary = '\ndictionary = { column = "k", query = "SELECT id, t FROM d" }'
    with pytest.raises(ConfigError, match="`t` is used for two things"):
        made(PLAIN.replace('["e"]', '["t"]') + dictionary)


def test_rows_with_their_time_in_another_column_are_in_one_place_if_it_is_the_same_time(made):
    time = 'time = ["t", "u"]\ntime_form = ["native", "epoch_float"]\nseveral = "last"'
    connector = made(PLAIN.replace('time = "t"', time))
    place = connector.table.placed
    assert place(("s", None, "1704067200.25")) == place(("s", "2024-01-01 00:00:00.25+00", "7"))
    assert place(("s", None, None)) == ("s", None, None)
    types = {"t": "timestamp with time zone", "u": "double precision"}
    rule = connector.family.rule(connector.table, types)
    assert rule.time_types == {"t": "timestamp with time zone"}
    assert rule.time.wide((None, "1704067200.25")) == ("2024-01-01 00:00:00.25+00",)
