"""librdkafka repeats itself with each attempt: our log has it once, and then how often."""

from __future__ import annotations

import logging

from cdc.log.said import AGAIN, Once


def test_what_is_said_again_and_again_is_one_line_and_then_a_count():
    now = 0.0
    once = Once(lambda: now)

    def said(text: str) -> str | None:
        record = logging.LogRecord("rdkafka", logging.WARNING, "", 0, "%s", (text,), None)
        return record.getMessage() if once.filter(record) else None

    assert said("FAIL [1]: refused after 12 ms") == "FAIL [1]: refused after 12 ms"
    assert [said(f"FAIL [1]: refused after {n} ms") for n in range(40)] == [None] * 40
    assert said("another") == "another"
    now = AGAIN + 1
    assert said("FAIL [1]: refused after 9 ms") == "FAIL [1]: refused after 9 ms (and 40 times more since)"
    assert said("FAIL [1]: refused after 9 ms") is None
