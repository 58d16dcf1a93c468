"""Which cells lie in quarantine, so that verify does not take them for lost."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Final, TypeAlias

import psycopg

from sink.mapping import Mapping
from widebeam.proof import Place

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

# A reading's raw form is a JSON object with its wide key, the carried columns and the row; a whole record that could
# not be decoded is base64, which has no braces.
_READINGS: Final = """
SELECT raw FROM widebeam.quarantine WHERE connector = %s AND raw LIKE '{%%'
"""


def quarantined(target: Session, mapping: Mapping, places: Collection[Place]) -> set[Place]:
    """Those of the places of which a reading lies in quarantine."""
    found = set[Place]()
    with target.transaction(), target.cursor("widebeam_quarantine") as cursor:
        cursor.itersize = 5000
        for (raw,) in cursor.execute(_READINGS, [mapping.connector]):
            place = _place(mapping, json.loads(raw))
            if place in places:
                found.add(place)
    return found


def _place(mapping: Mapping, raw: dict[str, Any]) -> Place:
    table, row = mapping.table, dict(zip(raw["columns"], raw["row"][1:], strict=True))
    wide = raw["wide"]
    return Place(
        tuple(wide.get(name) for name in table.entity),
        tuple(wide.get(name) for name in table.time),
        row.get(table.key[0]) or "",
    )
