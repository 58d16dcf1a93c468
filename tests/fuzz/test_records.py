"""The readers of the log's records against what was a record once: they read one, or say `Undecodable`."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdc.event import UNCHANGED
from cdc.lsn import Lsn
from cdc.record.avro import AvroCodec
from cdc.record.column_cache import ColumnCache
from cdc.record.envelope import JSON, Codec, Undecodable, _carefully, _quickly
from cdc.record.record import Barrier, Changes, Record, Stamp, Truncated
from tests.fuzz.damage import damaged, little_memory

AVRO = AvroCodec(7)
CODECS = [pytest.param(JSON, id="json"), pytest.param(AVRO, id="avro")]
COLUMN_CACHE = ColumnCache()  # of all that is tried: what one of them leaves in it, another one may meet
STAMP = Stamp("ships", 3, 14, Lsn(0x16B3748), 77, 1_764_000_000_000_000)
ROWS: list[list[Any]] = [["i", "a", "1"], ["d", "b", None], ["u", "c", UNCHANGED], ["m", "\\N", "\U0001f6a2"]]
SOUND: list[Record] = [
    Changes(STAMP, "tenant.t", {"ship": "s", "at": None}, ["key", "v"], ROWS),
    Changes(STAMP, "tenant.t", {"ship": "s"}, ["key", "v"], [["i", "a", str(n)] for n in range(30)]),
    Changes(STAMP, "t", {}, ["key"], [["d", "x"]]),
    Truncated(STAMP, ["tenant.t", "tenant.u"]),
    Barrier(STAMP, "content"),
]


def read(codec: Codec, value: bytes) -> Record | None:
    try:
        with little_memory(len(value)):
            return codec.decode(value)
    except Undecodable as error:
        assert error.reason
        return None


@pytest.mark.parametrize("codec", CODECS)
@given(data=st.data())
def test_a_damaged_record_is_read_or_refused_and_what_is_read_can_be_written(codec: Codec, data: st.DataObject) -> None:
    value = data.draw(damaged(st.sampled_from(list(map(codec.encode, SOUND)))))
    found = read(codec, value)
    if found is not None:
        assert codec.decode(codec.encode(found)) == found


@given(value=damaged(st.sampled_from(list(map(JSON.encode, SOUND)))))
@example(value=b'{"v":1,"v":2}')
def test_the_quick_reader_never_sees_what_the_careful_one_does_not(value: bytes) -> None:
    quick = _quickly(value, COLUMN_CACHE)
    if quick is not None:
        assert quick == _carefully(value, suspect_nul=b"\\u0000" in value)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([2**63, -(2**63) - 1, 1e308]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


HEAD = ["v", "connector", "generation", "sequence", "lsn", "xid", "at"]
wrongs = st.dictionaries(
    st.sampled_from([*HEAD, "table", "wide", "columns", "rows", "inserts", "truncate", "barrier", "more"]),
    json_values,
    min_size=1,
    max_size=3,
)


@given(sound=st.sampled_from(SOUND), wrong=wrongs)
def test_json_with_fields_of_any_type_is_read_or_refused(sound: Record, wrong: dict[str, Any]) -> None:
    try:
        value = orjson.dumps(orjson.loads(JSON.encode(sound)) | wrong)
    except TypeError:  # a number of more than 64 bits, or half a character: orjson does not write it, others may
        return
    found = read(JSON, value)
    assert found is None or JSON.decode(JSON.encode(found)) == found


def zigzag(number: int) -> bytes:
    """A number as Avro writes it."""
    rest, out = (number << 1) ^ (number >> 63), bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


@pytest.mark.parametrize("claim", [1 << 31, 1 << 40, (1 << 62), -1, -(1 << 40), -(1 << 62)])
def test_an_avro_length_that_claims_more_than_there_is_takes_no_memory(claim: int) -> None:
    start = AVRO.encode(SOUND[4])[:5] + zigzag(1)
    head = start + zigzag(1) + b"c" + zigzag(1) + zigzag(1) + zigzag(3) + b"0/1" + zigzag(1) + zigzag(1)
    body = head + zigzag(0) + zigzag(1) + b"t"
    for value in (
        start + zigzag(claim) + b"abc",  # a text
        body + zigzag(claim) + b"abc",  # an array of records
        head + zigzag(1) + zigzag(claim) + b"\2a" * 3,  # an array of texts
        head + zigzag(1) + zigzag(claim),
        body + zigzag(0) + zigzag(1) + b"i" + zigzag(1) + zigzag(0) + zigzag(1) + b"t" + zigzag(claim) + b"\0" * 9,
    ):
        assert read(AVRO, value) is None


@pytest.mark.parametrize("depth", [1_000, 200_000])
def test_json_of_any_depth_is_refused(depth: int) -> None:
    for opened in (b"[", b'{"a":'):
        with pytest.raises(Undecodable):
            JSON.decode(b'{"v":1,"wide":' + opened * depth)
