"""One row, two rows."""

from __future__ import annotations

import pytest

from widebeam.counted import counted


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [
        (0, "row", "0 rows"), (1, "row", "1 row"), (2_000, "narrow row", "2,000 narrow rows"),
        (1, "entry", "1 entry"), (2, "entry", "2 entries"), (2, "entity", "2 entities"), (3, "key", "3 keys"),
    ],
)  # fmt: skip
def test_a_number_and_its_noun_agree(number: int, noun: str, said: str) -> None:
    assert counted(number, noun) == said
