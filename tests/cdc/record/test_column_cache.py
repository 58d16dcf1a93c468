"""Columns are read alike whether they come for the first time, again, or too often anew."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.record import column_cache
from cdc.record.column_cache import ColumnCache
from cdc.record.envelope import JsonCodec
from cdc.record.record import Changes

COLUMNS = st.lists(st.one_of(st.none(), st.text()), max_size=5)


def raw(values: object) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(values).encode())


@given(st.lists(st.one_of(st.none(), COLUMNS), max_size=20), st.integers(0, 3))
def test_a_column_is_what_its_bytes_say_however_often_it_comes(
    columns: list[list[str | None] | None], most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(column_cache, "_IN_VAIN", most)
        patch.setattr(column_cache, "_KEPT", 6)
        known = ColumnCache()
        for column in columns + columns:
            found = known.column("a", raw(column))
            assert (found if found is None else list(found)) == column


def test_what_comes_again_is_not_read_again() -> None:
    known = ColumnCache()
    assert known.column("a", raw(["x", None])) is known.column("a", raw(["x", None])) == ("x", None)


def test_values_that_never_come_again_are_not_looked_for_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column_cache, "_IN_VAIN", 10)
    known = ColumnCache()
    for n in range(100):
        known.column("value", raw([str(n)]))
        known.column("key", raw(["a"]))
    assert len(known._known) == 11


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column_cache, "_KEPT", 100)
    known = ColumnCache()
    for n in range(1_000):
        known.column("a", raw([str(n), "x"]))
        assert len(known._known) <= 50


@pytest.mark.parametrize("wrong", [b"[1]", b"[true]", b'["a', b'{"a":"b"}', b'"a"', b'["\xff"]'])
def test_bytes_that_are_no_column_are_refused_each_time(wrong: bytes) -> None:
    codec = JsonCodec()
    for _ in range(2):
        with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError)):
            codec._column_cache.column("a", msgspec.Raw(wrong))
    assert not codec._column_cache._known


def test_records_of_one_codec_do_not_share_what_differs() -> None:
    codec = JsonCodec()
    head = (
        b'{"v":1,"connector":"c","generation":1,"sequence":0,"lsn":"0/8","xid":1,"at":1,"table":"s.t","wide":{"w":"1"}'
    )
    for keys in (b'["a","b"]', b'["b","a"]', b'["a","b"]', b'["a","c"]'):
        found = codec.decode(head + b',"wide":{"w":"1"},"columns":["k","v"],"inserts":[' + keys + b',["1",null]]}')
        assert isinstance(found, Changes)
        first, second = json.loads(keys)
        assert list(found.rows) == [["i", first, "1"], ["i", second, None]]


def test_the_cache_is_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column_cache, "_KEPT", 1_000)
    known = ColumnCache()
    for n in range(100):
        known.column("a", raw([str(n) * 10_000]))
    assert sum(map(len, known._known)) < 100_000
