"""Where a narrow table's rows go."""

from __future__ import annotations

import pytest

from cdc.source.narrow import NarrowTable

TABLE = NarrowTable("public", "n", ("e",), ("t",), ("k",), ("v",), ())


@pytest.mark.parametrize(("one", "other"), [("1.0", "1.00"), ("1.50", "1.5"), ("-0", "0"), ("100", "100.0")])
def test_numbers_that_are_equal_go_to_one_partition(one: str, other: str) -> None:
    assert TABLE.placed((one, "1")) == TABLE.placed((other, "1"))


@pytest.mark.parametrize("text", ["10", "a.0", "1.0.0", "2024-01-01 00:00:00.5+00", "", "0", None])
def test_other_texts_stay_as_they_are(text: str | None) -> None:
    assert TABLE.placed((text, "1")) == (text, "1")
