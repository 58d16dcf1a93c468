"""A type that was altered is seen at the first row, by what is written down: no row of it is published."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from uuid import uuid4

import psycopg
import pytest

from cdc.halt import Cause, Halt
from tests.beside import beside
from tests.cdc.conftest import Remembering
from tests.pipeline import until
from widebeam.config.config import load
from widebeam.run.parts import capture_into
from widebeam.setup.prepare import prepare
from widebeam.setup.survey import Survey

FILE = """
[source]
dsn = "{dsn}"
table = "public.m"
entity = ["e"]
time = "t"
key = "k"
[source.value]
columns = ["v"]
[target]
dsn = "{dsn}"
"""


def test_a_type_that_was_altered_before_the_first_row_of_a_run_halts_before_it_is_published(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Survey, "look", lambda *_: False)  # the watch comes too late
    log, slot_is_ours, ended = Remembering(), Event(), Event()
    file = tmp_path / f"types_{uuid4().hex[:8]}.toml"
    file.write_text(FILE.format(dsn=database))
    connector = load(str(file), {})
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("CREATE TABLE public.m (e text, k text, t timestamptz, v float8, PRIMARY KEY (e, k, t))")
        session.execute("ALTER TABLE public.m REPLICA IDENTITY FULL")
        ready = prepare(connector)

        def captured(stop: Event) -> None:
            try:
                capture_into(log, connector, ready, stop, slot_is_ours.set)
            finally:
                ended.set()

        with (
            pytest.raises(Halt, match="v was double precision and is numeric") as halt,
            beside(captured),
        ):
            until(slot_is_ours.is_set)
            session.execute("ALTER TABLE public.m ALTER v TYPE numeric USING v / 1000")
            session.execute("INSERT INTO public.m VALUES ('a', 'k', '2026-03-01', 1)")
            until(ended.is_set)
    assert halt.value.cause is Cause.RELATION_CHANGED
    assert log.published == []
