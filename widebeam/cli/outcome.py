"""What an error says to the user, and the exit code that goes with it."""

from __future__ import annotations

from typing import Final

import psycopg
from confluent_kafka import KafkaException

from cdc.fate import LOST, Fate
from cdc.fault import fault
from cdc.halt import Halt
from cdc.journal import Superseded
from cdc.log.transport import DeliveryFailed
from cdc.patience import LockHeld
from cdc.refusal import BrokerRefused
from cdc.standby import SlotInUse
from snapshot.chunks.gate import GateClosed
from widebeam.check.check import Preconditions
from widebeam.config.config import ConfigError
from widebeam.gap.clearing import WouldClear
from widebeam.log import struck_out
from widebeam.process.restarts import AWAY, REFUSED
from widebeam.replay.plan import ReplayRefused
from widebeam.replay.point import BadPoint
from widebeam.replay.replay import NothingApplied
from widebeam.run.supervise import PartRefused
from widebeam.setup.drop import StillRunning
from widebeam.state.control import InUse
from widebeam.state.lock import Busy
from widebeam.state.recorded import NotSetUp

PROBLEM: Final = 1
USAGE: Final = 2
HALTED: Final = 3

_EXPECTED: Final = (
    Busy,
    InUse,
    LockHeld,
    StillRunning,
    NothingApplied,
    SlotInUse,
    Superseded,
    DeliveryFailed,
    BrokerRefused,
    GateClosed,
    psycopg.Error,
    KafkaException,
    OSError,
    LookupError,
)
"""Things that happen: their message is for the user. Anything else is a fault of ours, and says so."""


def explained(error: Exception) -> tuple[str, int]:
    """The message, without a traceback and without secrets, and the exit code."""
    message, code = _explained(error)
    return struck_out(message), code


def exit_code(error: Exception, code: int) -> int:
    """The exit code of a part that somebody minds: whether its end was its own failure."""
    found = fault(error)
    if isinstance(error, BrokerRefused) or (found is not None and found.fate is Fate.REFUSED):
        return REFUSED
    return AWAY if is_away(error) else code


def is_away(error: Exception) -> bool:
    """Whether it is only that a server is out of reach or takes no writes: then it is tried again, however often."""
    found = fault(error)
    return found is not None and (found.fate is Fate.WAITS or found.code == LOST)


def _explained(error: Exception) -> tuple[str, int]:
    match error:
        case ConfigError(mistakes=mistakes):
            return _listed("the configuration cannot be used", mistakes), USAGE
        case ReplayRefused(reasons=reasons):
            return _listed("a replay from there is not possible", reasons), PROBLEM
        case Preconditions(findings=findings):
            return _listed("a run is not possible yet", list(map(str, findings))), PROBLEM
        case Halt():
            return f"widebeam: halted ({error.cause.value}): {error.what}\n{error.remedy}", HALTED
        case PartRefused() | BadPoint() | NotSetUp() | WouldClear():
            return f"widebeam: {error}", PROBLEM if isinstance(error, NotSetUp | WouldClear) else USAGE
        case _:
            return f"widebeam: {_said(error)}", PROBLEM


def _said(error: Exception) -> str:
    if isinstance(error, KafkaException) and error.args:
        return f"Kafka: {error.args[0]}"
    text = " | ".join(str(error).strip().splitlines())
    if isinstance(error, psycopg.OperationalError) and "no password supplied" in text:
        text = f"{text}. {_where_passwords_are(error)}"
    if isinstance(error, _EXPECTED):
        return f"{type(error).__name__}: {text}"
    return f"unexpected: {type(error).__name__}: {text} (with `widebeam --debug ...` it shows where)"


def _where_passwords_are(error: psycopg.OperationalError) -> str:
    """Whose password is missing, told by the name that Server.conninfo gives each session, and where it belongs."""
    given = {} if error.pgconn is None else {each.keyword: each.val for each in error.pgconn.info}
    side = (given.get(b"fallback_application_name") or b"").decode().removeprefix("widebeam-")
    sides = [side] if side in ("source", "target") else ["source", "target"]
    names = " or ".join(f"WIDEBEAM_{each.upper()}__PASSWORD" for each in sides)
    return f"It is for [{'] or ['.join(sides)}]: set {names}, `password_file` there, or PGPASSFILE"


def _listed(headline: str, items: list[str]) -> str:
    return "\n".join([f"widebeam: {headline}:", *(f"  - {item}" for item in items)])
