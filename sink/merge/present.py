"""A wide table as it is in the target at present, whose rows are locked: others may have added to it since it was read.

Whoever takes cells away asks: a row may go only when it has none left, and when no other part has a row for which it is
there (`Entity.bases`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from sink.mapping.mapping import Mapping
from sink.mapping.wide import Part
from sink.merge.stage import Connection
from sink.wide import cell

_NO_MORE: Final = sql.SQL("")
_COLUMNS: Final = "SELECT column_name FROM widebeam.columns WHERE (connector, entity, part) = (%s, %s, %s)"
_LED: Final = """
SELECT other.schema_name, other.table_name
FROM widebeam.tables AS own JOIN widebeam.tables AS other USING (connector, entity)
WHERE (own.connector, own.entity, own.part) = (%s, %s, %s) AND other.part > own.part AND EXISTS (
    SELECT FROM unnest(ARRAY[own.view_name, own.group_view]) AS shown (view)
    WHERE view IN (other.view_name, other.group_view) AND NOT EXISTS (
        SELECT FROM widebeam.tables AS first
        WHERE (first.connector, first.entity) = (own.connector, own.entity) AND first.part < own.part
        AND view IN (first.view_name, first.group_view)
    )
) ORDER BY other.part
"""


@dataclass(frozen=True, slots=True)
class Present:
    """The names of the `part`'s `columns`, and the tables that are `led` by it: whose rows need one here."""

    part: Part
    key: Sequence[str]
    columns: list[str]
    led: list[sql.Identifier]

    def empty(self) -> sql.Composed:
        """The row, which is called `wide`, has no cell."""
        return sql.SQL(" AND ").join(cell.empty(sql.Identifier("wide", column)) for column in self.columns)

    def needed(self, more: sql.Composable = _NO_MORE) -> sql.Composed:
        """A part that is led has a row for which `wide` is there; `more`: a test for it, where it is called `other`."""
        same = sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier("other", column), sql.Identifier("wide", column))
            for column in self.key
        )
        form = sql.SQL("EXISTS (SELECT FROM {} AS other WHERE {}{})")
        tests = [form.format(each, same, more) for each in self.led]
        return sql.SQL(" OR ").join(tests) if tests else sql.Composed([sql.SQL("false")])


def present(connection: Connection, mapping: Mapping, part: Part) -> Present:
    """What there is of a part."""
    place = [mapping.connector, part.entity, part.number]
    columns = [name for (name,) in connection.execute(_COLUMNS, place)]
    led = [sql.Identifier(*name) for name in connection.execute(_LED, place)]
    return Present(part, mapping.key_columns, columns, led)
