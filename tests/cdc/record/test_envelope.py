from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.event import UNCHANGED
from cdc.lsn import Lsn
from cdc.record.avro import AvroCodec
from cdc.record.codec import decode as decode_any
from cdc.record.column_cache import ColumnCache
from cdc.record.envelope import JSON, Codec, Undecodable, _carefully, _quickly, encode_key
from cdc.record.record import Barrier, Changes, Record, Stamp, Truncated

CODECS = [pytest.param(JSON, id="json"), pytest.param(AvroCodec(7), id="avro")]
STAMP = Stamp("ships", 3, 14, Lsn(0x16B3748), 77, 1_764_000_000_000_000)
CHANGES = Changes(STAMP, "tenant.t", {"ship": "s", "at": None}, ["key", "v"], [["i", "a", "1"], ["d", "b", None]])

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["\U0001f6a2", "\\N", "\\u0000", 'a"b', "\t\n\r", "\u001f", "온도"]
)
stamps = st.builds(
    Stamp,
    text,
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**64 - 1).map(Lsn),
    st.integers(0, 2**32 - 1),
    st.integers(-(2**63), 2**63 - 1),
)


@st.composite
def changes(draw: st.DrawFn) -> Changes:
    columns = draw(st.lists(text, min_size=1, max_size=4, unique=True))
    value = text | st.none() | st.just(UNCHANGED)
    row = st.tuples(st.sampled_from("iud"), *[value] * len(columns)).map(list)
    wide = draw(st.dictionaries(text, text | st.none(), min_size=1, max_size=3))
    return Changes(draw(stamps), draw(text), wide, columns, draw(st.lists(row, min_size=1, max_size=5)))


records = st.one_of(
    changes(),
    st.builds(Truncated, stamps, st.lists(text, min_size=1, max_size=3)),
    st.builds(Barrier, stamps, text),
)


@pytest.mark.parametrize("codec", CODECS)
@given(record=records)
@settings(max_examples=150)
def test_every_record_comes_back_as_it_was(codec: Codec, record: Record) -> None:
    assert codec.decode(codec.encode(record)) == record


@pytest.mark.parametrize("codec", CODECS)
@given(record=records, cut=st.integers(1, 300), place=st.integers(0, 300), byte=st.integers(0, 255))
@settings(max_examples=150)
def test_broken_bytes_are_refused_or_read_as_some_record(
    codec: Codec, record: Record, cut: int, place: int, byte: int
) -> None:
    value = codec.encode(record)
    changed = bytearray(value)
    changed[place % len(value)] = byte
    with pytest.raises(Undecodable):
        codec.decode(value[: -min(cut, len(value))])
    try:
        codec.decode(bytes(changed))
    except Undecodable as error:
        assert error.reason


@pytest.mark.parametrize("codec", CODECS)
@given(value=st.binary(max_size=60))
def test_other_peoples_bytes_are_refused(codec: Codec, value: bytes) -> None:
    with pytest.raises(Undecodable):
        codec.decode(value)


@given(record=changes(), place=st.integers(0, 400), byte=st.integers(0, 255))
@settings(max_examples=200)
def test_the_quick_reader_sees_what_the_careful_one_sees(record: Changes, place: int, byte: int) -> None:
    value = JSON.encode(record)
    place %= len(value)
    for changed in (value, value[:place] + bytes([byte]) + value[place + 1 :]):
        seen: list[object] = []
        for read in (JSON.decode, lambda given: _carefully(given, suspect_nul=b"\\u0000" in given)):
            try:
                seen.append(read(changed))
            except Undecodable as error:
                seen.append(error.reason)
        assert seen[0] == seen[1]


def test_common_records_are_read_by_the_quick_reader() -> None:
    assert _quickly(JSON.encode(CHANGES), ColumnCache()) == CHANGES
    assert _quickly(JSON.encode(CHANGES._replace(rows=[["u", "a", UNCHANGED]])), ColumnCache()) is None


def test_the_json_form_is_the_documented_one() -> None:
    record = CHANGES._replace(rows=[["u", "chan", UNCHANGED], ["d", "chan", None]])
    assert orjson.loads(JSON.encode(record)) == {
        "v": 1,
        "connector": "ships",
        "generation": 3,
        "sequence": 14,
        "lsn": "0/16B3748",
        "xid": 77,
        "at": 1_764_000_000_000_000,
        "table": "tenant.t",
        "wide": {"ship": "s", "at": None},
        "columns": ["key", "v"],
        "rows": [["u", "chan", False], ["d", "chan", None]],
    }
    assert orjson.loads(JSON.encode(Truncated(STAMP, ["s.t"])))["truncate"] == ["s.t"]
    assert orjson.loads(JSON.encode(Barrier(STAMP, "x")))["barrier"] == "x"


INSERTS: list[list[Any]] = [["i", f"chan-{n}", None if n % 3 else ""] for n in range(20)]


def test_many_inserts_are_written_by_columns() -> None:
    value = JSON.encode(CHANGES._replace(columns=["key", "v", "w"], rows=[[*row, None] for row in INSERTS]))
    fields = orjson.loads(value)
    assert "rows" not in fields
    assert fields["inserts"] == [[row[1] for row in INSERTS], [row[2] for row in INSERTS], None]


@pytest.mark.parametrize(
    "rows",
    [
        INSERTS,
        INSERTS[:7],
        [*INSERTS, ["u", "a", "b"]],
        [*INSERTS, ["i", "a", UNCHANGED]],
        [["i", None, None]] * 20,
        [["i", None, ""]] * 20,
        [["i", "false", "[false,"]] * 20,
        [["i", "\0", "a"]] * 20,
    ],
    ids=["all", "few", "an update", "left out", "all null", "empty", "the word false", "nul"],
)
def test_records_of_all_kinds_of_rows_come_back_as_they_were(rows: list[list[Any]]) -> None:
    value = JSON.encode(CHANGES._replace(rows=rows))
    if rows[0][1] == "\0":
        with pytest.raises(Undecodable, match="a NUL"):
            JSON.decode(value)
        return
    found = JSON.decode(value)
    assert isinstance(found, Changes)
    assert (list(found.rows), len(found.rows)) == (rows, len(rows))
    assert ([found.rows[n] for n in range(len(rows))], found.rows[1:3]) == (rows, rows[1:3])
    assert found == CHANGES._replace(rows=rows)
    assert JSON.encode(found) == value


@pytest.mark.parametrize(
    ("inserts", "reason"),
    [
        ([], "for each of `columns`"),
        ([["a"]], "for each of `columns`"),
        ([["a"], ["b"], ["c"]], "for each of `columns`"),
        ([["a"], ["b", "c"]], "of the same length"),
        ([None, None], "of the same length"),
        ([[], []], "of the same length"),
        ([["a"], "b"], "not a list of lists"),
        ({"a": 1}, "not a list of lists"),
        ([["a"], [False]], "neither text nor null"),
        ([["a"], ["\0"]], "a NUL"),
    ],
)
def test_inserts_of_another_shape_are_refused_with_the_reason(inserts: Any, reason: str) -> None:
    fields = orjson.loads(JSON.encode(CHANGES))
    del fields["rows"]
    with pytest.raises(Undecodable, match=reason):
        JSON.decode(orjson.dumps(fields | {"inserts": inserts}))


def test_a_record_has_its_rows_in_one_form() -> None:
    fields = orjson.loads(JSON.encode(CHANGES))
    with pytest.raises(Undecodable, match="unknown fields 'rows'"):
        JSON.decode(orjson.dumps(fields | {"inserts": [["a"], ["b"]]}))


def test_a_key_is_a_json_array() -> None:
    assert encode_key(("schiff-ü", None, "2024-01-01 00:00:00")) == '["schiff-ü",null,"2024-01-01 00:00:00"]'.encode()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"v": 2}, "format version 2"),
        ({"v": None}, "format version None"),
        ({"connector": 5}, "`connector` is not a text"),
        ({"generation": -1}, "`generation` is not"),
        ({"sequence": True}, "`sequence` is not"),
        ({"lsn": "zero"}, "`lsn` is not an LSN"),
        ({"xid": 2**32}, "`xid` is not"),
        ({"at": 1.5}, "`at` is not"),
        ({"extra": 1}, "unknown fields 'extra'"),
        ({"table": None}, "`table` is not a text"),
        ({"wide": {"a": 1}}, "`wide` is not"),
        ({"columns": []}, "`columns` is not"),
        ({"columns": ["key", "key"]}, "`columns` is not"),
        ({"rows": []}, "`rows` is not"),
        ({"rows": ["i"]}, "`rows` is not"),
        ({"rows": [["i", "a"]]}, "has not 3 values"),
        ({"rows": [["x", "a", "b"]]}, "none of i, u, d, m"),
        ({"rows": [[None, "a", "b"]]}, "none of i, u, d, m"),
        ({"rows": [["i", "a", 1]]}, "neither text nor null nor false"),
        ({"rows": [["i", "a", {}]]}, "neither text nor null nor false"),
        ({"rows": [["i", "a", True]]}, "is true"),
        ({"rows": [["i", "a", "\0"]]}, "a NUL"),
        ({"wide": {"ship": "\0"}}, "a NUL"),
    ],
)
def test_json_of_another_shape_is_refused_with_its_reason(fields: dict[str, Any], reason: str) -> None:
    whole = orjson.loads(JSON.encode(CHANGES)) | fields
    with pytest.raises(Undecodable, match=reason):
        JSON.decode(orjson.dumps(whole))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "not JSON"),
        (b"[]", "a JSON list"),
        (b'{"v":1,"connector":"\xff"}', "not JSON"),
        (b'{"v":' + b"[" * 5000 + b"]" * 5000 + b"}", "not JSON"),
    ],
)
def test_what_is_not_our_json_at_all_is_refused(value: bytes, reason: str) -> None:
    with pytest.raises(Undecodable, match=reason):
        JSON.decode(value)


def test_avro_of_another_schema_id_is_refused() -> None:
    with pytest.raises(Undecodable, match="the schema's id"):
        AvroCodec(8).decode(AvroCodec(7).encode(CHANGES))


def test_avro_starts_with_confluents_framing() -> None:
    assert AvroCodec(258).encode(CHANGES)[:5] == b"\0\0\0\1\2"


@pytest.mark.parametrize("codec", CODECS)
def test_a_record_that_is_longer_than_any_of_ours_is_not_looked_into(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = codec.encode(Barrier(Stamp("ships", 1, 0, Lsn(8), 1, 1), "x" * 1000))
    for module in ("cdc.record.envelope", "cdc.record.avro"):
        monkeypatch.setattr(f"{module}.MAX_BYTES", 1000)
    with pytest.raises(Undecodable, match="more than 1000"):
        codec.decode(value)


def test_a_log_may_hold_both_forms_under_any_schema_id() -> None:
    written = [JSON.encode(CHANGES), AvroCodec(1).encode(CHANGES), AvroCodec(70_000).encode(CHANGES)]
    assert [decode_any(value) for value in written] == [JSON.decode(written[0])] * 3
    for broken in (b"\0", b"\0\0\0\0\1", b""):
        with pytest.raises(Undecodable):
            decode_any(broken)


def test_a_record_of_the_longest_values_is_read() -> None:
    """Sinks pass over what they cannot read: that a row of 70 MB was one cost all that followed it."""
    long = "x" * (70 * 1024 * 1024)
    barrier = decode_any(JSON.encode(Barrier(Stamp("ships", 1, 0, Lsn(8), 1, 1), long)))
    assert isinstance(barrier, Barrier)
    assert len(barrier.content) == len(long)
