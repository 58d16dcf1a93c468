"""Notices: what was seen in the source's catalog that does not stop the connector, and that somebody has to know of."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import psycopg

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

Kind: TypeAlias = Literal["gone", "doubt", "filling"]

_SELECT: Final = (
    "SELECT source, kind, subject, what, at FROM widebeam.notices WHERE connector = %s ORDER BY at, source, subject"
)
_MAY_SETTLE: Final = "SELECT has_table_privilege(to_regclass('widebeam.notices'), 'DELETE')"
_ADD: Final = (
    "INSERT INTO widebeam.notices (connector, source, kind, subject, what) VALUES (%s, %s, %s, %s, %s)"
    " ON CONFLICT (connector, source, kind, subject) DO UPDATE SET what = EXCLUDED.what, at = EXCLUDED.at"
)


class Notice(NamedTuple):
    """`gone`: what came from the subject stays in the wide tables, until somebody acknowledges that. `doubt`: they may
    be wrong; forgotten once verify has found no difference. `filling`: the rows of an attached partition are on their
    way."""

    source: str
    kind: Kind
    subject: str
    what: str
    at: datetime | None = None


def add(connection: Connection, connector: str, notice: Notice) -> None:
    """Write one down, in place of an older one of the same kind and subject."""
    connection.execute(_ADD, [connector, *notice[:4]])


def load(connection: Connection, connector: str) -> list[Notice]:
    """All of them, the oldest first; none in a control schema from before there were notices."""
    if connection.execute("SELECT to_regclass('widebeam.notices')").fetchone() == (None,):
        return []
    return [Notice(*row) for row in connection.execute(_SELECT, [connector]).fetchall()]


def filled(connection: Connection, connector: str, source: str, subjects: list[str]) -> None:
    """The rows of these partitions are planned: the ledger tells of them from now on, and one that was gone is back."""
    connection.execute(
        "DELETE FROM widebeam.notices WHERE (connector, source) = (%s, %s) AND kind IN ('filling', 'gone')"
        " AND subject = ANY (%s)",
        [connector, source, subjects],
    )


def truncated(connection: Connection, connector: str, sources: Iterable[str]) -> None:
    """A TRUNCATE of these tables is applied: nothing stays of what was in their partitions."""
    connection.execute(
        "DELETE FROM widebeam.notices WHERE connector = %s AND kind = 'gone' AND source = ANY (%s)",
        [connector, list(sources)],
    )


def forget(connection: Connection, connector: str, kinds: list[Kind]) -> None:
    """All of these kinds are over."""
    connection.execute("DELETE FROM widebeam.notices WHERE connector = %s AND kind = ANY (%s)", [connector, kinds])


def heard(connection: Connection, connector: str, kind: Kind, before: datetime) -> None:
    """Somebody has answered those of a kind from before."""
    connection.execute(
        "DELETE FROM widebeam.notices WHERE connector = %s AND kind = %s AND at < %s", [connector, kind, before]
    )


def settle(connection: Connection, connector: str, before: datetime) -> None:
    """Everything was compared, from `before` on, and nothing differs: older doubts are over. A role that may only look
    leaves them."""
    if connection.execute(_MAY_SETTLE).fetchone() != (True,):
        return
    heard(connection, connector, "doubt", before)
