"""The rules of time zones by which a connector's wide times are made: written down, and kept to by every process."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import psycopg

from cdc.clock import zones
from cdc.halt import OVER_THE_GAP, Cause, Halt
from widebeam.config import language
from widebeam.config.connector import Connector
from widebeam.state import recorded
from widebeam.state.recorded import Recorded

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_SETTING: Final = "zone_rules"
_BY: Final = "by"


def follow(target: Session, connector: Connector, found: Recorded) -> None:
    """Check, and write down which package has the same rules now. Raises Halt."""
    check(connector, found)
    if found.settings.get(_SETTING, {}) != _now(connector):
        note(target, connector)


def check(connector: Connector, found: Recorded) -> None:
    """This process has the rules by which the wide times were made; else a Halt."""
    before: dict[str, str] = found.settings.get(_SETTING, {})
    now = _now(connector)
    changed = sorted(name for name in now if name in before and name != _BY and now[name] != before[name])
    if changed:
        raise Halt(
            Cause.ZONE_RULES,
            f"the rules of {', '.join(changed)} are other ones in {now[_BY]}, which is installed here, than in "
            f"{before.get(_BY)}, by which the wide times were made: a change would miss the row that it is for",
            f"`pip install {str(before.get(_BY)).replace(' ', '==')}` here, and go on; or, to go by the new rules, "
            f"install them everywhere, and {OVER_THE_GAP}",
        )


def note(target: Session, connector: Connector) -> None:
    """Write the rules down that are installed here."""
    if now := _now(connector):
        recorded.note(target, connector.name, **{_SETTING: now})


def _now(connector: Connector) -> dict[str, str]:
    """The zones of the mapping and what their rules come to, and which package says so; nothing without zones."""
    names = language.time_rule(connector.options.source, {}).zones
    return {_BY: zones.rules(), **{name: zones.fingerprint(name) for name in sorted(names)}} if names else {}
