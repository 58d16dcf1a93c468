"""The look at the source's catalog beside capture."""

from __future__ import annotations

import threading

import psycopg
import pytest

from cdc.halt import Cause, Halt
from cdc.settings import CaptureSettings
from cdc.watch import Watch


def test_a_look_that_hangs_does_not_keep_capture_from_ending(database: str) -> None:
    looks, hangs, over, waited = iter([False]), threading.Event(), threading.Event(), []

    def survey(_: object) -> bool:
        if next(looks, None) is None:  # not the first one, which is made before capture begins
            hangs.set()
            waited.append(over.wait(30))
        return False

    settings = CaptureSettings("c", database, "slot", "publication", (), watch_seconds=0.01, survey=survey)
    with Watch(settings):
        assert hangs.wait(60)
    assert waited == []
    over.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_look_that_fails_is_made_again_and_what_it_finds_then_counts(database: str) -> None:
    looks = iter([None, psycopg.OperationalError("the server starts"), Halt(Cause.SLOT_GONE, "gone", "make it")])

    def survey(_: object) -> bool:
        if (error := next(looks, None)) is not None:
            raise error
        return False

    settings = CaptureSettings("c", database, "slot", "publication", (), watch_seconds=0.01, survey=survey)
    with Watch(settings) as watch:
        watch._thread.join(60)
        assert watch.found is not None
        with pytest.raises(Halt, match="gone"):
            watch.check()
