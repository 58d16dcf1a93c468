"""What an error says to the user, and the exit code that goes with it."""

from __future__ import annotations

import os
import sys
from typing import Final

import psycopg
from confluent_kafka import KafkaError, KafkaException
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from cdc.halt import Halt
from cdc.journal import Superseded
from cdc.log.transport import DeliveryFailed
from cdc.patience import LockHeld
from cdc.refusal import BrokerRefused
from cdc.standby import SlotInUse
from snapshot.chunks.gate import GateClosed
from widebeam.check.check import Preconditions
from widebeam.config.config import ConfigError
from widebeam.log import struck_out
from widebeam.replay.plan import ReplayRefused
from widebeam.replay.point import BadPoint
from widebeam.replay.replay import NothingApplied
from widebeam.run.supervise import PartRefused
from widebeam.setup.drop import StillRunning
from widebeam.state.control import InUse
from widebeam.state.lock import Busy

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

_NO_BROKER: Final = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT)

_PING: Final = 5
"""Seconds for a server to answer once more."""


def wants_debug() -> bool:
    """Whether tracebacks and debug messages are wanted; asked before the options are read, too."""
    return "--debug" in sys.argv[1:] or bool(os.environ.get("WIDEBEAM_DEBUG"))


def explained(error: Exception) -> tuple[str, int]:
    """The message, without a traceback and without secrets, and the exit code."""
    message, code = _explained(error)
    return struck_out(message), code


def is_away(error: Exception) -> bool:
    """Whether it is only that a server is out of reach, or not up yet: then it is tried again, however often."""
    match error:
        case psycopg.OperationalError(sqlstate=str(code)):
            return code.startswith(("08", "57P"))
        case psycopg.OperationalError():
            return not _refuses(error)
        case KafkaException():
            return bool(error.args) and getattr(error.args[0], "code", int)() in _NO_BROKER
        case _:
            return False


def _refuses(error: psycopg.OperationalError) -> bool:
    """Whether a server that is up would not have us. A session that it had let in was lost, whatever for.

    libpq keeps the SQLSTATE of a failed connection to itself, and the message is in the server's language. PQping looks
    at the SQLSTATE, so the server is asked once more.
    """
    tried = error.pgconn
    if tried is None or tried.backend_pid:
        return False
    given = make_conninfo(**{each.keyword.decode(): each.val.decode() for each in tried.info if each.val is not None})
    again = make_conninfo(given, connect_timeout=_PING, target_session_attrs="any")
    return PGconn.ping(again.encode()) == Ping.OK and not _lets_in(again)


def _lets_in(conninfo: str) -> bool:
    """Whether a server would have us, but for being a standby where a primary is wanted, say: it may be promoted."""
    try:
        psycopg.connect(conninfo).close()
    except psycopg.OperationalError:
        return False
    return True


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
        case PartRefused() | BadPoint():
            return f"widebeam: {error}", USAGE
        case _:
            return f"widebeam: {_said(error)}", PROBLEM


def _said(error: Exception) -> str:
    if isinstance(error, KafkaException) and error.args:
        return f"Kafka: {error.args[0]}"
    text = " | ".join(str(error).strip().splitlines())
    if isinstance(error, _EXPECTED):
        return f"{type(error).__name__}: {text}"
    return f"unexpected: {type(error).__name__}: {text} (with `widebeam --debug ...` it shows where)"


def _listed(headline: str, items: list[str]) -> str:
    return "\n".join([f"widebeam: {headline}:", *(f"  - {item}" for item in items)])
