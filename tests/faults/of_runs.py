"""Faults of the whole of `widebeam run`: killed, stopped, halted. For a storm, which starts it again at its end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import psycopg

from tests.faults.fault import Fault
from tests.faults.stand import Stand
from tests.pipeline import until
from tests.waiting import PATIENCE

_TRIES: Final = 20
_HALTED: Final = 3


@contextmanager
def kill_run(stand: Stand) -> Iterator[None]:
    """SIGKILL of `widebeam run`; its parts end by themselves, while the next one starts."""
    with stand.rest() as run:
        generation = stand.generation()
        run.kill()
        run.wait()
    until(lambda: stand.generation() > generation)
    yield


@contextmanager
def end_run(stand: Stand) -> Iterator[None]:
    """SIGTERM, as at a deployment: it drains, ends with 0, and is started again."""
    with stand.rest() as run:
        generation = stand.generation()
        run.terminate()
        code = run.wait(PATIENCE)
    assert code in (0, -signal.SIGTERM), f"`widebeam run` ended with {code} after SIGTERM"  # it may have just begun
    until(lambda: stand.generation() > generation)
    yield


@contextmanager
def drop_slot(stand: Stand) -> Iterator[None]:
    """Somebody drops the slot: a halt, and the way on that it names, over the gap."""
    with stand.rest() as run:
        until(lambda: _slot_is_gone(stand))
        code = run.wait(PATIENCE)
        assert code == _HALTED, f"`widebeam run` ended with {code} after its slot was dropped"
        for _ in range(_TRIES):  # other faults go on
            resume = stand.command("resume", "--backfill-gap", "--clear")
            stand.helpers.append(resume)
            if resume.wait(PATIENCE) == 0:
                break
        else:
            raise AssertionError("the gap could not be gone over")
    yield


def _slot_is_gone(stand: Stand) -> bool:
    with suppress(psycopg.errors.ObjectInUse), stand.on_source() as source:
        source.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active")
        source.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
        return True
    return False


FAULTS: Final = (
    Fault("the whole run is killed", kill_run),
    Fault("the whole run is ended and started again", end_run),
    Fault("the slot is dropped", drop_slot, "is gone", promised="halts"),
)
