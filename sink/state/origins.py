"""The origins of columns as the target has them written down, for all processes of a connector."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import psycopg

from cdc.failpoint import Failpoint, hit
from sink.mapping.origin import Origins, Told

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_NEW: Final = """
INSERT INTO widebeam.origins (connector, entity, key, origin)
SELECT %s, * FROM unnest(%s::text[], %s::text[], %s::text[]) AS met (entity, key, origin) ORDER BY entity, key
ON CONFLICT DO NOTHING
"""
_TOLD: Final = """
SELECT entity, key, origin, shared FROM widebeam.origins
WHERE connector = %s AND (entity, key) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
"""
_SHARE: Final = """
UPDATE widebeam.origins SET shared = true
WHERE connector = %s AND (entity, key) IN (SELECT * FROM unnest(%s::text[], %s::text[])) AND NOT shared
"""
_COUNT: Final = "SELECT count(*) FROM widebeam.origins WHERE connector = %s AND shared"
_SHARED: Final = "SELECT entity, key, origin, shared FROM widebeam.origins WHERE connector = %s AND shared"


def write(connection: Connection, connector: str, origins: Origins) -> bool:
    """Write down what was met, and learn what others wrote; whether to fold again, since a column is shared.

    Before the rows are: whoever meets the second origin of a column sees the first. Without a row it does no harm.
    """
    met = sorted((*place, *some) for place, some in origins.met.items())
    if not met:
        return False
    entities, keys = [each[0] for each in met], [each[1] for each in met]
    connection.execute(_NEW, [connector, entities, keys, [each[2] for each in met]])
    told = [Told(*row) for row in connection.execute(_TOLD, [connector, entities, keys])]
    several = [each for each in told if not each.shared and origins.met[each.entity, each.key] != {each.origin}]
    if several:
        places = [[each.entity for each in several], [each.key for each in several]]
        connection.execute(_SHARE, [connector, *places])
    hit(Failpoint.ORIGINS_WRITTEN)
    return origins.learn([each._replace(shared=each.shared or each in several) for each in told])


def any_shared(connection: Connection, connector: str) -> bool:
    """Are there columns of which cells are read again from the source?"""
    return connection.execute(_COUNT, [connector]).fetchone() != (0,)


def follow(connection: Connection, connector: str, origins: Origins) -> None:
    """Know which columns are shared by now."""
    row = connection.execute(_COUNT, [connector]).fetchone()
    count = 0 if row is None else int(row[0])
    if count != origins.shared:
        origins.learn(Told(*each) for each in connection.execute(_SHARED, [connector]))
        origins.shared = count
