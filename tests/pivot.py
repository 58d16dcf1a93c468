"""What the wide tables should hold, by somebody who knows nothing of us: DuckDB's PIVOT."""

from __future__ import annotations

from typing import Any

import duckdb


def pivoted(duck: duckdb.DuckDBPyConnection) -> dict[tuple[str, str, str], Any]:
    """The cells that its table `narrow` comes to, of the columns ship, moment, channel and value."""
    found = duck.execute("PIVOT narrow ON channel USING any_value(value) GROUP BY ship, moment")
    names = [column[0] for column in found.description][2:]
    return {
        (ship, moment, name): value
        for ship, moment, *values in found.fetchall()
        for name, value in zip(names, values, strict=True)
        if value is not None
    }
