"""How many examples are tried: few in `make test`, many in `make fuzz`. An example that takes long fails: no reader of
foreign input may be held up by it."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import HealthCheck, settings

HELD_UP = timedelta(seconds=20)
"""For milliseconds of work, on a machine that may be slow."""

settings.register_profile("default", max_examples=60, deadline=HELD_UP)
settings.register_profile(
    "fuzz", max_examples=2_000, deadline=HELD_UP, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("default")
