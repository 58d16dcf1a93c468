"""The connector's file and the environment, whatever is in them: a connector that can be used, or a ConfigError."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sink.mapping.group import LONGEST, Group
from tests.fuzz.damage import damaged
from widebeam.config.config import ConfigError, load
from widebeam.config.connector import Connector
from widebeam.config.mistakes import known_names
from widebeam.config.pattern import checked
from widebeam.config.select_list import select_list

SHIPS = (Path(__file__).parents[2] / "connectors" / "ships.toml").read_text(encoding="utf-8")
SOURCE = '[source]\ndsn = "host=h dbname=d"\ntable = "a.b"\nentity = ["e"]\ntime = "t"\nkey = "k"\n'
REST = '[source.value]\ncolumns = ["v"]\n[target]\ndsn = "host=h dbname=w"\n'
GROUP = '[[target.groups]]\nname = "g"\npattern = "^ME"\n'
SOUND = [SHIPS, SOURCE + REST, SOURCE + REST + GROUP, SOURCE + 'password_file = "/dev/null"\n' + REST]


def used(connector: Connector) -> None:
    """All that is made of the options alone."""
    connector.mapping({})
    for server in (connector.options.source, connector.options.target):
        assert server.conninfo() is not None
        assert server.shown
    assert connector.slot and connector.publication and connector.group
    connector.kafka_client()
    connector.family.narrow("a", "b" * 63)


@pytest.fixture(scope="module")
def file() -> Iterator[Path]:
    with TemporaryDirectory() as directory:
        yield Path(directory) / "plant.toml"


def taken(file: Path, content: bytes, environment: dict[str, str] | None = None) -> list[str] | None:
    """What is wrong with it; None if it can be used."""
    file.write_bytes(content)
    try:
        used(load(str(file), environment or {}))
    except ConfigError as error:
        assert error.mistakes
        return error.mistakes
    return None


@given(content=damaged(st.sampled_from([text.encode() for text in SOUND])))
@example(content=b"x = " + b"9" * 5_000)
@example(content=b"x = " + b"[" * 50_000)
@example(content=b"x = " + b"{a = " * 5_000)
@example(content=b"a" + b".a" * 50_000 + b" = 1")
@example(content=b'[a."b" . ' + b"c . " * 50_000 + b"d]")
@example(content="".join(SOUND[1]).encode("utf-16"))
@example(content=b"\xef\xbb\xbf" + SOUND[1].encode())
@example(content=b"".join(b"x%d = 1\n" % n for n in range(50_000)))
@example(content=b"#" * 2_000_000)
def test_a_damaged_file_is_read_or_refused(file: Path, content: bytes) -> None:
    taken(file, content)


values = st.one_of(
    st.sampled_from(
        ["nan", "inf", "-inf", "1e308", "-1", "0", "9" * 30, "true", "1979-05-27T07:32:00Z", "07:32:00", "[]", "{}"]
    ),
    st.sampled_from(['""', "[[]]", '[""]', "[1]", '"\\u0000"', '["\\u0000"]', '{ a = ["\\u0000"] }', '{ "" = "" }']),
    st.sampled_from(['"/"', '"/proc/self/mem"', '"../../etc/passwd"', '"%"', '"a.%%%"', f'"{"a" * 5_000}"', '"a.b"']),
    st.sampled_from(['"postgresql://u:p@h/%00"', '"host=\'"', '"service=x"', '"{entity}"', '"{0.__class__}"', '"%s"']),
    st.integers().map(str),
    st.text(max_size=20).map(lambda text: "'''" + text.replace("'", "").replace("\r", "") + "'''"),
)
options = st.sampled_from([(s, o) for s in known_names(()) for o in known_names((s,)) if o not in ("value", "groups")])


@given(given=st.lists(st.tuples(options, values), min_size=1, max_size=3))
@example(given=[(("source", "password_file"), '"/tmp"')])
@example(given=[(("source", "password_file"), '"a\\u0000b"')])
@example(given=[(("source", "dsn"), '"host=h\\u0000 dbname=d"')])
@example(given=[(("source", "table_pattern"), '"(a{99999999999})"')])
@example(given=[(("source", "table_pattern"), "'" + "(" * 500 + "a" + ")" * 500 + "'")])
@example(given=[(("source", "time_zone"), '"Europe"')])
def test_an_option_of_any_value_is_read_or_refused(file: Path, given: list[tuple[tuple[str, str], str]]) -> None:
    sections = {"source": SOURCE, "source.value": REST.split("[target]", maxsplit=1)[0].split("\n", 1)[1]}
    lines = {"source": SOURCE.splitlines()[1:], "target": ['dsn = "host=h dbname=w"'], "kafka": [], "sink": []}
    for (section, option), value in given:
        kept = [line for line in lines.get(section, []) if not line.startswith(f"{option} =")]
        lines[section] = [*kept, f"{option} = {value}"]
    if lines["kafka"]:
        lines["kafka"].append('bootstrap_servers = "b:1"')
    text = "".join(f"[{name}]\n" + "\n".join(each) + "\n" for name, each in lines.items() if each)
    taken(file, (text + "[source.value]\n" + sections["source.value"]).encode())


names = st.builds(
    lambda section, option, more: f"WIDEBEAM_{section}__{option}{more}".upper(),
    st.sampled_from([*known_names(()), "", "_", "sorce"]),
    st.sampled_from([*known_names(("source",)), *known_names(("target",)), *known_names(("sink",)), "", "value"]),
    st.sampled_from(["", "", "__columns", "__", "__a__b"]),
)
settings = st.one_of(
    st.sampled_from(["", "[", "[]", "{}", "null", "1", "9" * 5_000, "[" * 50_000, '{"a":' * 50_000, '["\\ud800"]']),
    st.sampled_from(['{"a": ["\\u0000"]}', '[{"name": "a", "pattern": "(a+)+"}]', "\udcff", '"x"', "host=\udcff"]),
    st.text(max_size=20),
)


@given(
    environment=st.dictionaries(names | st.just("WIDEBEAM_SOURCE") | st.just("WIDEBEAM_KAFKA"), settings, max_size=3)
)
@example(environment={"WIDEBEAM_TARGET__GROUPS": "[" * 100_000})
@example(environment={"WIDEBEAM_SOURCE__WHERE": '{"a": ["\\ud800"]}'})
@example(environment={"WIDEBEAM_SOURCE__PASSWORD": "\udcff"})
def test_any_environment_is_read_or_refused(file: Path, environment: dict[str, str]) -> None:
    taken(file, SOUND[1].encode(), environment)


def test_a_file_of_very_many_mistakes_names_some_of_them(file: Path) -> None:
    found = taken(file, b"".join(b"x%d = 1\n" % n for n in range(5_000)) + SOUND[1].encode())
    assert found is not None
    assert len(found) == 51
    assert found[-1].endswith("4950 mistakes more")


hows = st.sampled_from(["*", "+", "?", "{2,9}", "{3}", "*?", "++"])
atoms = st.sampled_from(["a", "b", ".", "[ab]", r"\w", "^", "$", "a|a", "a|ab", "(?=a)", r"(a)\1"])
patterns = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds(lambda one, how: f"(?:{one}){how}", inner, hows),
        st.builds("{}{}".format, inner, inner),
        st.builds("(?:{}|{})".format, inner, inner),
    ),
    max_leaves=8,
)


@given(pattern=patterns)
@example(pattern="(a+)+$")
@example(pattern="(a|aa)+$")
@example(pattern="a?" * 40 + "a" * 40)
@example(pattern="(a{1,20}){1,20}b")
@example(pattern="a*a*a*a*a*b")
@example(pattern="a*a*a*b")
@example(pattern="((a{1000}){1000}){1000}")
def test_a_pattern_is_refused_or_finds_its_answer_in_time_in_any_key(pattern: str) -> None:
    try:
        group = Group("g", pattern=checked(pattern))
    except ValueError as error:
        assert "regular expression" in str(error) or "too long" in str(error)
        return
    for key in ("a" * LONGEST, "a" * (LONGEST - 1) + "!", "ab" * (LONGEST // 2) + "!", "a" * 1_000_000 + "!"):
        group.takes(key)


@pytest.mark.parametrize(
    "pattern", [r"^item0*(\d+)$", r"^(ME|AE)\d", r"^[A-Z]+_\d+_.*$", "(?i)engine.*temp", "(?:a|b)++c"]
)
def test_patterns_as_people_write_them_are_taken(pattern: str) -> None:
    assert checked(pattern).pattern == pattern


def test_tables_with_very_many_percent_signs_are_compared_in_time(file: Path) -> None:
    text = SOURCE.replace('table = "a.b"', f'tables = ["a.{"%a" * 30}%b"]') + REST
    file.write_text(text)
    family = load(str(file), {}).family
    assert family.narrow("a", "a" * 62) is None
    assert family.narrow("a", "a" * 61 + "b") is not None
    assert family.narrow("a", "a" * 29 + "b") is None


@given(query=damaged(st.just(b"SELECT key_id, lower(a.key)::text AS key, \"B\" FROM public.d WHERE x = 'y' -- z")))
@example(query=b"SELECT 1, " + b"/*" * 5_000)
@example(query=b"SELECT " + b"'" * 9_999)
@example(query=b"SELECT " + b"(" * 9_000)
def test_the_select_list_of_any_text_is_read_or_not_plain(query: bytes) -> None:
    found = select_list(query.decode(errors="replace"))
    assert found is None or all(isinstance(name, str) for name in found)
