from __future__ import annotations

from queue import Queue

from widebeam.demo.ticker import Ticker


def test_a_step_says_again_and_again_how_far_it_is() -> None:
    said: Queue[str] = Queue()
    with Ticker(said.put, every=0.001) as ticker:
        ticker.at("7 of 9 rows")
        while not said.get(timeout=60).endswith(" s: 7 of 9 rows"):
            pass
        assert said.get(timeout=60).endswith(" s: 7 of 9 rows")
