"""Preconditions of time zones: the source's server has the rules by which we make wide times."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import errors

from cdc.clock import zones
from widebeam.config import language
from widebeam.config.connector import Connector
from widebeam.finding import Finding

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_SECOND: Final = 1_000_000
_FIRST: Final = 0
_LAST: Final = 2_145_916_800 * _SECOND
"""From 1970, before which packages of the same rules differ, to 2038."""
_OFTEN: Final = 10 * 86_400 * _SECOND
_UNEQUAL: Final = """
SELECT count(*), min(at)::text, max(at)::text
FROM unnest(%(moments)s::bigint[], %(offsets)s::bigint[]) AS told(s, ahead), LATERAL to_timestamp(s) AS at
WHERE extract(epoch FROM (at AT TIME ZONE %(zone)s) - (at AT TIME ZONE 'UTC')) <> ahead
"""


def zone_rules(session: Session, connector: Connector) -> Iterator[Finding]:
    """At each change of the clocks since 1970, and between them, the server tells the same local time."""
    for name in sorted(language.time_rule(connector.options.source, {}).zones):
        moments = _moments(name)
        told = {
            "moments": [each // _SECOND for each in moments],
            "offsets": [zones.offset(each, name) // _SECOND for each in moments],
            "zone": name,
        }
        try:
            count, first, last = session.execute(_UNEQUAL, told).fetchone() or (0, None, None)
        except errors.InvalidParameterValue:
            yield Finding(f"the server has no time zone {name}", "", "update its time zone data (its package tzdata)")
            continue
        if count:
            yield Finding(
                f"the server's rules of {name} differ from ours ({zones.rules()}) between {first} and {last}: "
                "wide times would be other instants than the server tells for the same local time",
                "",
                "update the server's time zone data (the system's package tzdata, or PostgreSQL where it brings its "
                "own); or install the tzdata here that has the server's rules, alike for every process (pip)",
            )


def _moments(name: str) -> list[int]:
    """Just before and at each change of the clocks, and often between."""
    changed = [moment + before for moment, _ in zones.changes(name) for before in (-_SECOND, 0)]
    return sorted(each for each in (*changed, *range(_FIRST, _LAST, _OFTEN)) if _FIRST <= each < _LAST)


CHECKS: Final = (zone_rules,)
