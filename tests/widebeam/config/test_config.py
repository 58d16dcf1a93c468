"""The configuration: the file, then the environment; all mistakes at once, and no secret shown."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from cdc.settings import CaptureSettings
from sink.mapping.mapping import Mapping
from sink.settings import SinkSettings
from snapshot.settings import BackfillSettings
from widebeam.config.config import ConfigError, load
from widebeam.config.mistakes import known_names
from widebeam.verify.proof import VerifySettings

SHIPS = Path(__file__).parents[3] / "connectors" / "ships.toml"

GOOD = """
[source]
dsn = "host=h dbname=d"
table = "a.b"
entity = ["e"]
time = "t"
key = "k"
[source.value]
columns = ["v"]
[target]
dsn = "host=h dbname=w"
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> str:
        file = tmp_path / "plant.toml"
        file.write_text(text, encoding="utf-8")
        return str(file)

    return write


def mistakes(connector: str, environment: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(connector, environment or {})
    return caught.value.mistakes


def test_the_reference_connector_is_read_by_its_name():
    ships = load("ships", {"WIDEBEAM_CONNECTORS": str(SHIPS.parent)})
    assert ships.table.qualified == "tenant.tbl_data_timeseries"
    assert ships.table.carried == ("data_channel_id", "double_v", "long_v", "str_v", "bool_v", "value_format")
    assert (ships.transport, ships.slot, ships.topic) == ("kafka", "widebeam_ships", "widebeam.ships")


def test_the_reference_connector_mentions_every_option_with_its_true_default():
    text = SHIPS.read_text(encoding="utf-8")
    ships = load(str(SHIPS), {})
    for section in known_names(()):
        part = text[text.index(f"[{section}]") :]
        for option in known_names((section,)):
            if option in ("password", "value", "dictionary"):
                continue
            match = re.search(rf"^(# )?{option} = (\S+?)(\s+#.*)?$|^(# )?{option} = ", part, re.MULTILINE)
            assert match, f"{section}.{option} is not in ships.toml"
            default = getattr(getattr(ships.options, section), "wide_schema" if option == "schema" else option)
            if (
                match[1]
                and match[2]
                and option not in ("topic", "slot", "publication", "password_file", "name", "client")
            ):
                shown = tomllib.loads(f"it = {match[2]}")["it"]
                assert (shown or None) == (default or None), f"{section}.{option}"


def test_uncommented_defaults_of_the_reference_connector_change_nothing(write):
    lines = SHIPS.read_text(encoding="utf-8").splitlines()
    option = re.compile(r"# (\[\w+\]|[a-z_]+ = .*)$")
    bare = [found[1] if (found := option.match(line)) else line for line in lines]
    text = "\n".join(line for line in bare if not line.startswith("password_file"))
    given = load(write(text), {})
    ships = load(str(SHIPS), {})
    assert given.options.sink == ships.options.sink
    assert given.options.backfill == ships.options.backfill
    assert (given.slot, given.publication, given.topic) == (ships.slot, ships.publication, ships.topic)
    assert given.mapping({}).name == ships.mapping({}).name


def test_the_environment_wins_over_the_file(write):
    plant = load(write(GOOD), {"WIDEBEAM_SOURCE__TABLE": "x.y", "WIDEBEAM_SINK__WORKERS": "3"})
    assert plant.table.qualified == "x.y"
    assert plant.options.sink.workers == 3


def test_a_list_comes_from_the_environment_as_json(write):
    assert load(write(GOOD), {"WIDEBEAM_SOURCE__ENTITY": '["a", "b"]'}).table.entity == ("a", "b")


def test_a_section_can_come_from_the_environment_alone(write):
    assert load(write(GOOD), {}).transport == "direct"
    assert load(write(GOOD), {"WIDEBEAM_KAFKA__BOOTSTRAP_SERVERS": "b:1"}).topic == "widebeam.plant"


def test_an_unknown_option_is_an_error_that_names_file_section_and_the_nearest_one(write):
    file = write(GOOD + 'layuot = "single"\n')
    assert mistakes(file) == [f"{file}, section [target]: unknown option `layuot`; did you mean `layout`?"]


def test_an_unknown_option_in_the_environment_names_the_variable(write):
    assert mistakes(write(GOOD), {"WIDEBEAM_SINK__WORKRES": "2"}) == [
        "WIDEBEAM_SINK__WORKRES: unknown option `workres`; did you mean `workers`?"
    ]


def test_an_unknown_section_is_an_error_in_the_file_and_in_the_environment(write):
    found = mistakes(write(GOOD + "[kafak]\n"), {"WIDEBEAM_SORCE__DSN": "host=x"})
    assert any("unknown section or option `kafak`; did you mean `kafka`?" in line for line in found)
    assert "WIDEBEAM_SORCE__DSN: unknown section `sorce`; did you mean WIDEBEAM_SOURCE__DSN?" in found


def test_an_option_of_another_section_says_where_it_belongs(write):
    assert "it belongs to [sink]" in mistakes(write(GOOD + "batch_rows = 3\n"))[0]


def test_all_mistakes_are_said_at_once_with_what_was_expected(write):
    text = GOOD.replace('time = "t"', "time = 3").replace('["e"]', '"e"').replace('columns = ["v"]', "columns = 7")
    text += 'layout = "wide"\n[sink]\nworkers = "many"\nbatch_rows = 0\n'
    found = "\n".join(mistakes(write(text)))
    for expected in (
        "[source]: `time`: expected a text in quotes",
        '[source]: `entity`: expected a list: ["name"]',
        "[source.value]: `columns`: expected a list of columns",
        "[target]: `layout`: expected 'per_entity' or 'single'",
        "[sink]: `workers`: expected a whole number",
        "[sink]: `batch_rows`: expected at least 1",
    ):
        assert expected in found


def test_missing_sections_and_options_are_named(write):
    found = mistakes(write('[source]\ndsn = "host=h"\n'))
    assert any("the section [target] is missing" in line for line in found)
    assert any("section [source]: the option `key` is missing" in line for line in found)


@pytest.mark.parametrize(
    "secret",
    [
        GOOD.replace("host=h dbname=d", "host=h password=hunter2"),
        GOOD.replace("host=h dbname=w", "postgresql://u:hunter2@h/w"),
        GOOD.replace("host=h dbname=w", "host=h sslpassword=hunter2"),
        GOOD.replace("[source.value]", 'password = "hunter2"\n[source.value]'),
        GOOD + '[kafka]\nbootstrap_servers = "b:1"\nclient = { "sasl.password" = "hunter2" }\n',
        GOOD + '[backfill]\nstandby_dsn = "host=s password=hunter2"\n',
    ],
    ids=["dsn", "url", "key's password", "password", "kafka client", "standby"],
)
def test_a_secret_in_the_file_is_refused_and_not_shown(write, secret):
    found = mistakes(write(secret))
    assert len(found) == 1
    assert "hunter2" not in found[0]
    assert "password" in found[0]


def test_passwords_come_from_the_environment_or_a_file_and_are_never_printed(write, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    text = GOOD.replace('dsn = "host=h dbname=w"', f'dsn = "host=h dbname=w"\npassword_file = "{secret}"')
    plant = load(write(text), {"WIDEBEAM_SOURCE__PASSWORD": "hunter2"})
    assert "password=hunter2" in plant.options.source.conninfo()
    assert "password=hunter2" in plant.options.target.conninfo()
    assert "hunter2" not in f"{plant!r} {plant.options} {plant.options.source.shown}"


SECRETS = {
    "a password": {"WIDEBEAM_SOURCE__DSN": "host=h dbname=d password=hunter2"},
    "in a URL": {"WIDEBEAM_SOURCE__DSN": "postgresql://u:hunter2@h/d"},
    "the key's password": {"WIDEBEAM_SOURCE__DSN": "host=h sslpassword=hunter2"},
    "in a URL's query": {"WIDEBEAM_TARGET__DSN": "postgresql://u@h/d?sslpassword=hunter2&sslmode=verify-full"},
    "of OAuth": {"WIDEBEAM_TARGET__DSN": "host=h oauth_client_secret=hunter2 oauth_client_id=i"},
    "a SCRAM key": {"WIDEBEAM_TARGET__DSN": "host=h scram_client_key=hunter2"},
    "of the standby": {"WIDEBEAM_BACKFILL__STANDBY_DSN": "host=h sslpassword=hunter2"},
    "of Kafka": {
        "WIDEBEAM_KAFKA__BOOTSTRAP_SERVERS": "b:1",
        "WIDEBEAM_KAFKA__CLIENT": '{"sasl.password": "hunter2", "ssl.key.password": "hunter2"}',
    },
}


@pytest.mark.parametrize("environment", SECRETS.values(), ids=SECRETS)
def test_a_secret_of_the_environment_is_used_and_never_shown(write, environment):
    plant = load(write(GOOD), environment)
    options, standby = plant.options, plant.options.backfill.standby_dsn
    used = f"{options.source.conninfo()} {options.target.conninfo()} {plant.kafka_client()}"
    assert "hunter2" in used + (standby.get_secret_value() if standby else "")
    shown = [repr(plant), str(options), options.source.shown, options.target.shown, options.model_dump_json()]
    shown += [repr(options.model_dump()), f"{options.source.dsn} {options.target.dsn!r} {standby}"]
    assert "hunter2" not in " ".join(shown)


def test_settings_of_the_parts_do_not_show_how_they_connect():
    dsn, mapping = "host=h sslpassword=hunter2", Mapping("c", (), "w", "n")
    parts = (
        SinkSettings(dsn, mapping, dsn),
        BackfillSettings(mapping, dsn, dsn, dsn),
        VerifySettings(mapping, dsn, dsn),
        CaptureSettings("c", dsn, "s", "p", ()),
    )
    assert "hunter2" not in repr(parts)


def test_the_password_of_a_dsn_wins_over_the_file_and_the_variable_over_both(write, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("from the file")
    file = write(GOOD.replace("[source.value]", f'password_file = "{secret}"\n[source.value]'))
    environment = {"WIDEBEAM_SOURCE__DSN": "postgresql://u:hunter2@h/d"}
    assert "hunter2" in load(file, environment).options.source.conninfo()
    environment |= {"WIDEBEAM_SOURCE__PASSWORD": "hunter3"}
    assert "password=hunter3" in load(file, environment).options.source.conninfo()


def test_a_mistake_in_a_secret_does_not_show_it(write):
    found = mistakes(write(GOOD), {"WIDEBEAM_SOURCE__DSN": "postgres//u:hunter2@h=d"})
    assert "expected a libpq connection string" in found[0]
    assert "hunter2" not in str(found)


def test_a_password_file_that_cannot_be_read_is_said(write):
    text = GOOD.replace("[source.value]", 'password_file = "/no/such/file"\n[source.value]')
    assert "/no/such/file cannot be read" in mistakes(write(text))[0]


def test_a_column_cannot_play_two_parts(write):
    assert "`t` is used for two things" in mistakes(write(GOOD.replace('["v"]', '["v", "t"]')))[0]


def test_a_discriminator_needs_choices(write):
    assert "beside a discriminator" in mistakes(write(GOOD.replace("columns", 'discriminator = "f"\ncolumns')))[0]


GROUPS = """
[[target.groups]]
name = "engine"
pattern = "^ME"
[[target.groups]]
name = "Engine"
keys = ["AE1"]
"""


def test_groups_are_read_in_their_order(write):
    groups = load(write(GOOD + GROUPS.replace('"Engine"', '"aux"')), {}).mapping({}).groups
    assert [(each.name, each.takes("ME1"), each.takes("AE1")) for each in groups] == [
        ("engine", True, False),
        ("aux", False, True),
    ]


@pytest.mark.parametrize(
    ("wrong", "line", "said"),
    [
        (GROUPS, 17, "`name`: there is a group 'engine' already"),
        (GROUPS.replace('"^ME"', '"(ME"'), 15, "`pattern`: not a regular expression: missing )"),
        (GROUPS.replace('"Engine"', '"2"'), 17, "`name`: expected a letter, then"),
        (GROUPS.replace('pattern = "^ME"', ""), 13, "expected `keys`, a `pattern`, or both"),
        (GROUPS.replace("keys", "kyes"), 18, "unknown option `kyes`; did you mean `keys`?"),
    ],
)
def test_a_mistake_in_a_group_names_its_line(write, wrong, line, said):
    file = write(GOOD + wrong)
    assert mistakes(file)[0].startswith(f"{file}, line {line}, section [[target.groups]]: {said}")


def test_groups_come_from_the_environment_and_their_mistakes_name_the_variable(write):
    given = '[{"name": "a", "keys": ["x"]}, {"name": "b", "pattern": "["}]'
    assert mistakes(write(GOOD), {"WIDEBEAM_TARGET__GROUPS": given})[0].startswith("WIDEBEAM_TARGET__GROUPS: `pattern`")


def test_a_file_that_is_not_toml_says_the_line(write):
    assert "line 1" in mistakes(write("[source\n"))[0]


def test_a_missing_connector_lists_those_there_are():
    assert "connectors in" in mistakes("shps", {"WIDEBEAM_CONNECTORS": str(SHIPS.parent)})[0]
    assert "ships" in mistakes("shps", {"WIDEBEAM_CONNECTORS": str(SHIPS.parent)})[0]


def test_a_name_that_cannot_name_a_slot_is_refused(tmp_path):
    file = tmp_path / "Große Schiffe.toml"
    file.write_text(GOOD)
    assert "lower-case letters" in mistakes(str(file))[0]


def test_partitions_by_time_need_a_time(write):
    text = GOOD + 'partition_by = "month"\n'
    assert load(write(text), {}).mapping({}).partition_by == "month"
    (said,) = mistakes(write(text.replace('time = "t"', "time = []")))
    assert "[target]: `partition_by` needs a time" in said
    (said,) = mistakes(write(text.replace('"month"', '"hour"')))
    assert "`partition_by`: expected 'year', 'month', 'week' or 'day'" in said


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ('client = { "plugin.library.paths" = "x.so" }', "plugin.library.paths is refused: it loads code"),
        ('client = { "ssl.engine.location" = "x.so" }', "ssl.engine.location is refused: it loads code"),
        ('client = { "sasl.kerberos.kinit.cmd" = "rm" }', "sasl.kerberos.kinit.cmd is refused: it runs a command"),
        ('client = { "message.max.bytes" = "9" }', "message.max.bytes is refused: that is `record_megabytes`"),
        ('client = { "error_cb" = "x" }', "error_cb is refused: it is for programs"),
        ('client = { "Debug" = "all" }', "Debug is refused: it writes without a bound"),
        ('client = { "Sasl.Mechanism" = "PLAIN" }', "its names are lower-case"),
        ('topic_settings = { "cleanup.policy" = "compact" }', "compaction takes changes out of the log"),
    ],
)
def test_settings_of_kafka_that_harm_are_refused_with_the_reason(tmp_path: Path, option: str, said: str) -> None:
    file = tmp_path / "plant.toml"
    file.write_text(GOOD + f'[kafka]\nbootstrap_servers = "b:1"\n{option}\n')
    with pytest.raises(ConfigError, match=re.escape(said)):
        load(str(file), {})


def test_brokers_see_whose_client_it_is(tmp_path: Path) -> None:
    file = tmp_path / "plant.toml"
    file.write_text(GOOD + '[kafka]\nbootstrap_servers = "b:1"\nrecord_megabytes = 200\n')
    client = load(str(file), {}).kafka_client("sink")
    assert client["client.id"] == "widebeam.plant.sink"
    assert int(client["message.max.bytes"]) == 200 * 2**20 < int(client["receive.message.max.bytes"])
