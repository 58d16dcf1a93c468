"""What `widebeam run` does itself once a second for months: look. Its sessions are terminated again and again."""

from __future__ import annotations

import io
from pathlib import Path

import psycopg

from tests.footprint import assert_nothing_is_left, terminate
from tests.readings import FILE, NARROW
from widebeam.config.config import load
from widebeam.lab.kafka import KafkaBroker
from widebeam.run.monitor import Monitor
from widebeam.setup.prepare import prepare
from widebeam.status.progress import Lines

KAFKA = """
[kafka]
bootstrap_servers = "{kafka}"
topic = "{topic}"
partitions = 2
"""


def test_nothing_is_left_of_a_look_whose_sessions_were_terminated(
    database: str, kafka: KafkaBroker, topic: str, tmp_path: Path
) -> None:
    file = tmp_path / f"look_{topic[-12:]}.toml"
    file.write_text((FILE + KAFKA).format(dsn=database, kafka=kafka.bootstrap, topic=topic))
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(NARROW)
        connector = load(str(file), {})
        prepare(connector)
        monitor = Monitor(connector, Lines(io.StringIO()), until_converged=False)
        ended = []

        def again() -> None:
            monitor.look()
            monitor.look()
            ended.append(terminate(admin, "widebeam-status%"))

        try:
            assert_nothing_is_left(again, 20)
        finally:
            monitor.close()
    assert max(ended) == 2
    assert monitor.seen is not None and monitor.seen.status.connector == connector.name
