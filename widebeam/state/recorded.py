"""What is written down about a connector in widebeam.connectors, and whether the configuration still says the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cdc.lsn import Lsn
from cdc.source.slot import Incarnation
from sink.mapping.family import Source
from sink.state import sources
from widebeam.config.config import ConfigError
from widebeam.config.connector import Connector
from widebeam.config.options.source import Source as SourceOptions
from widebeam.config.options.source import Value
from widebeam.state import control

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_NO_MAPPING: Final = {"dsn", "password", "password_file", "slot", "publication", "failover", "watch_seconds"}
_ALWAYS: Final = frozenset(("entity", "time", "key"))
_MAPPING: Final = frozenset((*SourceOptions.model_fields, *Value.model_fields)) - _NO_MAPPING
"""What of [source] and [source.value] decides where a value goes: all but how to connect."""

READ_AGAIN: Final = frozenset(
    ("time", "time_form", "time_zone", "time_bucket", "several", "order_by", "where", "nulls")
)
"""What may be another, once every row is read again under it (`resume --backfill-gap`): it only decides which cells of
the same wide tables hold what."""

_DEFAULTS: Final = {
    name: field.default
    for section in (SourceOptions, Value)
    for name, field in section.model_fields.items()
    if not field.is_required() and field.default
}
"""What holds for an option that was not there yet when a connector was written down."""


class NotSetUp(LookupError):
    """The target knows no such connector, or its set-up has not ended."""

    def __init__(self, connector: Connector) -> None:
        super().__init__(
            f"connector {connector.name} is not set up in {connector.options.target.shown}: "
            f"`widebeam run {connector.name}` does that"
        )


@dataclass(frozen=True, slots=True)
class Recorded:
    """A row of widebeam.connectors, as far as set-up looks at it. `cutoff` is None until the slot is recorded."""

    transport: str
    partitions: int
    topic: str | None
    topic_id: str | None
    slot: str
    publication: str
    system_id: str
    timeline: int
    cutoff: str | None
    acknowledged: str | None
    planned: bool
    settings: dict[str, Any]

    @property
    def incarnation(self) -> Incarnation:
        """Which history its positions belong to."""
        return Incarnation(self.system_id, self.timeline)

    @property
    def position(self) -> Lsn:
        """Up to where we have acknowledged; the cutoff before the first time."""
        return Lsn.parse(self.acknowledged or self.cutoff or "0/0")


def load(session: Session, connector: str) -> Recorded | None:
    """What is recorded; None for a connector that was never prepared, or in a database without control schema.

    Raises ConfigError where a newer Widebeam has made the control schema.
    """
    control.refuse_newer(control.made(session))
    if session.execute("SELECT to_regclass('widebeam.connectors')").fetchone() == (None,):
        return None
    with session.cursor(row_factory=class_row(Recorded)) as cursor:
        return cursor.execute(
            "SELECT transport, partitions, topic, topic_id, slot, publication, system_id, timeline, "
            "cutoff::text, acknowledged::text, planned_at IS NOT NULL AS planned, settings "
            "FROM widebeam.connectors WHERE connector = %s",
            [connector],
        ).fetchone()


def insert(session: Session, connector: Connector, history: Incarnation, tables: Iterable[Source]) -> None:
    """Write a new connector down, with its partitions, before anything is made for it anywhere."""
    with session.transaction():
        session.execute(
            "INSERT INTO widebeam.connectors (connector, transport, partitions, topic, slot, publication, "
            "system_id, timeline, settings) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                connector.name,
                connector.transport,
                connector.partitions,
                connector.topic,
                connector.slot,
                connector.publication,
                history.system_id,
                history.timeline,
                Jsonb({**settings(connector), "groups": groups(connector)}),
            ],
        )
        session.execute(
            "INSERT INTO widebeam.progress (connector, partition) SELECT %s, generate_series(0, %s - 1)",
            [connector.name, connector.partitions],
        )
        for table in tables:
            sources.add(session, connector.name, table)


def note(session: Session, connector: str, **more: bool | dict[str, str] | list[dict[str, Any]] | str | None) -> None:
    """Add to the recorded settings."""
    session.execute(
        "UPDATE widebeam.connectors SET settings = settings || %s WHERE connector = %s", [Jsonb(more), connector]
    )


def settings(connector: Connector) -> dict[str, Any]:
    """What decides where a value goes: it cannot change once values have gone there.

    (Not the groups of keys: they say where a new column is made, and one that is made stays.)
    """
    source = connector.options.source
    columns = source.value.columns
    given = source.model_dump(mode="json", exclude=_NO_MAPPING)
    value = given.pop("value")
    return {
        **{name: setting for name, setting in given.items() if setting or name in _ALWAYS},
        **{name: setting for name, setting in value.items() if name != "columns" and setting},
        "discriminator": source.value.discriminator,
        "columns": columns if isinstance(columns, list) else None,
        "choices": columns if isinstance(columns, dict) else None,
        "layout": connector.layout,
        "schema": connector.options.target.wide_schema,
        "name": connector.wide_name,
        **({"partition_by": by} if (by := connector.options.target.partition_by) is not None else {}),
    }


def groups(connector: Connector) -> list[dict[str, Any]]:
    """The groups of keys as configured, to tell whether they changed."""
    return [group.model_dump(mode="json") for group in connector.options.target.groups]


def refuse_changes(recorded: Recorded, connector: Connector, *, read_again: bool = False) -> None:
    """ConfigError if the configuration changed in a way that would send values elsewhere than before.

    Safe, and not compared: what to do with deletes, truncates and unknown keys, workers, batches, how to connect.
    Safe, too: another value of the discriminator for a column that is carried already; and with `read_again` what is
    right again once every row was read under it.
    """
    mistakes = [each for option, each in changes(recorded, connector) if not (read_again and option in READ_AGAIN)]
    if mistakes:
        raise ConfigError(mistakes)


def changes(recorded: Recorded, connector: Connector) -> Iterator[tuple[str, str]]:
    """Options that are not what they were, and may not change, with what `refuse_changes` says of each."""
    way_out = f"set it back, or `widebeam drop {connector.name}` and run it anew"
    read_again = f"set it back, or `widebeam resume {connector.name} --backfill-gap` reads every row again under it"
    for option in ("transport", "partitions", "topic", "slot", "publication"):
        before, now = getattr(recorded, option), getattr(connector, option)
        if before != now and not (option == "partitions" and connector.transport == "direct"):
            yield option, f"{connector.file}: `{option}` was {before} and is {now}; {way_out}"
    given = settings(connector)
    for option in dict.fromkeys(
        [*given, *(name for name in recorded.settings if name in _MAPPING or name == "partition_by")]
    ):
        before, now = recorded.settings.get(option, _DEFAULTS.get(option)), given.get(option)
        if option == "choices" and _only_more(before, now):
            continue
        if before != now:
            way = read_again if option in READ_AGAIN else way_out
            yield option, f"{connector.file}: `{option}` was {before} when the connector was made and is {now}; {way}"


def _only_more(before: Any, now: Any) -> bool:
    """Whether choices only grew, and name no column that is not carried already."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return False
    return before.items() <= now.items() and set(now.values()) == set(before.values())


def schema_made(session: Session, schema: str) -> bool:
    """Make the schema of the wide tables; False if it was there."""
    if session.execute("SELECT FROM pg_namespace WHERE nspname = %s", [schema]).fetchone() is not None:
        return False
    session.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
    return True
