"""The quarantine: readings and records that cannot be placed, kept whole, each once however often it is delivered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import orjson
import psycopg

from sink.misfit import Misfit

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_DETAIL_LIMIT: Final = 1000

_INSERT: Final = """
INSERT INTO widebeam.quarantine (connector, origin, position, reason, detail, raw)
SELECT %s, * FROM json_to_recordset(%s) AS (origin text, position pg_lsn, reason text, detail text, raw text)
ON CONFLICT (connector, origin, reason) DO NOTHING
"""


def write(connection: Connection, connector: str, misfits: Iterable[Misfit]) -> None:
    """Put them away, in the open transaction. In one statement: a flood of them must not hold the pipeline up."""
    rows = [{**each._asdict(), "position": _position(each), "detail": _short(each)} for each in misfits]
    if rows:
        connection.execute(_INSERT, [connector, orjson.dumps(rows).decode()])


def _short(misfit: Misfit) -> str:
    """A text column holds everything but NUL."""
    return misfit.detail.replace("\0", "\\0")[:_DETAIL_LIMIT]


def _position(misfit: Misfit) -> str | None:
    return None if misfit.position is None else str(misfit.position)
