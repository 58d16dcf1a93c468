"""Connectors of one target that are made alike: most often one whose file was renamed, so that nobody runs it now."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import psycopg

from widebeam.config.connector import Connector
from widebeam.state import recorded

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_OTHERS: Final = (
    "SELECT connector, slot, settings FROM widebeam.connectors WHERE connector <> %s"
    " AND NOT EXISTS (SELECT FROM widebeam.connectors WHERE connector = %s) ORDER BY connector"
)


def twins(target: Session, connector: Connector) -> list[str]:
    """Of a connector that the target does not know: which ones it does know that have its slot, or map the same tables
    into the same wide ones; each as a sentence with the way on."""
    if target.execute("SELECT to_regclass('widebeam.connectors')").fetchone() == (None,):
        return []
    ours = recorded.settings(connector)
    return [
        f"connector {name} of this target (slot {slot}) maps the same tables: if its file was renamed, name it {name} "
        f"again; to begin anew, `widebeam drop {connector.name} --named {name}` first: its slot holds WAL for ever; "
        "or, for a second one beside it, set another `schema` or `name` in [target]"
        for name, slot, settings in target.execute(_OTHERS, [connector.name, connector.name])
        if slot == connector.slot or (_alike(ours, settings) and _named_alike(ours, settings, connector.name, name))
    ]


def _alike(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Whether all that decides what is read, and where it is written, is the same."""
    mapping = ("table", "tables", "schema", "entity", "time", "key", "where", "layout")
    return all(ours.get(name) == theirs.get(name) for name in mapping)


def _named_alike(ours: dict[str, Any], theirs: dict[str, Any], our: str, their: str) -> bool:
    """Whether the wide tables have the same names, but for the connector's in them."""
    name = theirs.get("name") or ""
    return ours.get("name") in (name, name.replace(their, our))
