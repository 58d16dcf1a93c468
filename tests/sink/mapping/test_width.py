from __future__ import annotations

import pytest

from sink.mapping.width import cell_bytes, fillfactor, rows_a_page, typical, width


@pytest.mark.parametrize(("columns", "rows"), [(1, None), (60, None), (250, 2), (320, 2), (400, 1), (500, 1)], ids=str)
def test_pages_keep_room_for_one_more_version_of_a_row_and_no_wide_row_wastes_a_page(
    columns: int, rows: int | None
) -> None:
    types = ["timestamp with time zone", "pg_lsn", *["double precision"] * columns]
    full, row = fillfactor(types), typical(types)
    kept = rows_a_page(row, full)
    if rows is None:
        assert full == 50
        return
    assert kept == rows
    most = rows_a_page(row, 100)
    assert full == 100 if most == 1 else kept < most <= 2 * kept


def test_numbers_and_texts_count_as_they_mostly_are_and_not_as_they_could_be() -> None:
    types = ["timestamp with time zone", "pg_lsn", *["numeric"] * 100, *["text"] * 100]
    assert typical(types) < 2500 < width(types).row_bytes
    assert cell_bytes("numeric(12,3)", 6) == 8 and cell_bytes("text", 30) == 31 and cell_bytes("real", 30) == 4
