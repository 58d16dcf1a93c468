"""The look at the source's catalog beside capture."""

from __future__ import annotations

import threading

from cdc.standby import CaptureSettings
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
