"""Texts that people and databases hand over: COPY, entries of the quarantine, the points of a replay, positions."""

from __future__ import annotations

import json
import string
from base64 import b64encode
from contextlib import suppress
from datetime import UTC, datetime

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from cdc.lsn import Lsn
from cdc.record.envelope import JSON
from cdc.record.record import Changes, Stamp
from cdc.source.narrow import NarrowTable
from sink.fold.copytext import NULL, escaped, unescaped
from sink.mapping.mapping import Mapping
from sink.mapping.rule import Rule
from tests.fuzz.damage import damaged
from widebeam.quarantine.entry import Entry, narrow_rows, why_unread
from widebeam.replay.point import BadPoint, parse

any_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.text("\\\t\n\rNbfv.x")


@given(value=any_text)
@example(value=NULL)
@example(value=r"\.")
def test_a_value_comes_back_out_of_copy_and_stays_in_its_line_and_field(value: str) -> None:
    written = escaped(value)
    assert unescaped(written) == value
    assert not set(written) & set("\t\n\r")
    assert written != NULL


@given(written=any_text)
@example(written="\\")
@example(written="\\\\\\")
def test_any_text_is_read_as_copy(written: str) -> None:
    value = unescaped(written)
    assert (value is None) == (written == NULL)


points = st.text(string.digits + ":,.-+TZ/ abcdefxINF\0\u0661\u00b2") | st.sampled_from(
    ["9" * 5_000, "0/FFFFFFFF", "FFFFFFFF/FFFFFFFF", "0/100000000", "0001-01-01", "9999-12-31T23:59:59-23:59"]
)


@given(offsets=st.lists(points, max_size=3), lsn=st.none() | points, time=st.none() | points)
@example(offsets=[], lsn=None, time="0001-01-01T00:00:00+23:59")
@example(offsets=[], lsn=None, time="9999-12-31T23:59:59-23:59")
@example(offsets=["\u0661"], lsn=None, time=None)
def test_any_point_of_a_replay_is_read_or_refused(offsets: list[str], lsn: str | None, time: str | None) -> None:
    try:
        point = parse(offsets, lsn, time, 8)
    except BadPoint as error:
        assert error.mistakes
    else:
        assert str(point)


@given(text=points)
def test_any_position_is_read_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert Lsn.parse(str(Lsn.parse(text))) == Lsn.parse(text)


TABLE = NarrowTable("tenant", "t", ("ship",), ("at",), ("key",), ("v",))
MAPPING = Mapping("ships", (Rule(TABLE, {"v": "text"}, entity=("ship",), key=("key",)),), "wide", "{entity}")
STAMP = Stamp("ships", 1, 2, Lsn(8), 7, 0)
RECORD = JSON.encode(
    Changes(STAMP, "tenant.t", {"ship": "s", "at": "1"}, ["key", "v"], [["i", "a", "1"], ["d", "b", None]])
)
ROW = {"table": "tenant.t", "wide": {"ship": "s", "at": "1"}, "columns": ["key", "v"], "row": ["i", "a", "1"]}
json_texts = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["ship", "at", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
raws = st.one_of(
    damaged(st.just(RECORD)).map(lambda value: b64encode(value).decode()),
    damaged(st.just(b64encode(RECORD))).map(lambda value: value.decode(errors="replace")),
    damaged(st.just(orjson.dumps(ROW))).map(lambda value: value.decode(errors="replace")),
    st.dictionaries(st.sampled_from(sorted(ROW)), json_texts, max_size=4).map(lambda wrong: json.dumps(ROW | wrong)),
)


@given(raw=raws)
@example(raw="{")
@example(raw="{}")
@example(raw='{"a":' * 100_000)
@example(raw=json.dumps({**ROW, "row": ["i", "a"]}))
@example(raw=json.dumps({**ROW, "row": ["i", "a", 1]}))
def test_any_entry_of_the_quarantine_holds_rows_or_none(raw: str) -> None:
    entry = Entry(1, datetime(2026, 1, 1, tzinfo=UTC), "0:1:2", None, "undecodable", "", raw)
    assert why_unread(entry, MAPPING)
    for row in narrow_rows(entry, MAPPING):
        assert len(row.row) == len(TABLE.carried)
        cell = row.cell(MAPPING)
        assert cell is None or all(value is None or isinstance(value, str) for value in cell.values)
    orjson.dumps(entry.as_dict())
