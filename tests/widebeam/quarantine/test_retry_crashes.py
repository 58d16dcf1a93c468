"""`widebeam quarantine retry` is killed at each of its durable steps, and begun again: nothing is lost.

Readings of a kind that the connector does not know at first lie in quarantine, three batches of them. Between the
deaths the source goes on: rows of batches that are done and of others are changed and deleted, while nobody streams
and while somebody does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TypeAlias

import duckdb
import pytest

from cdc.failpoint import ENVIRONMENT, Failpoint
from cdc.lsn import Lsn
from cdc.record.envelope import encode
from cdc.record.record import Changes, Stamp
from cdc.source.session import connect
from sink.fold.quarantine_entry import undecodable
from sink.state import quarantine
from tests.pipeline import until
from tests.pivot import pivoted
from tests.plant import Plant
from tests.readings import SOURCE

Cells: TypeAlias = "dict[tuple[str, str, str], float]"

UNDONE = (
    Failpoint.RETRY_STAGED,
    Failpoint.RETRY_HELD,
    Failpoint.RETRY_MERGED,
    Failpoint.RETRY_TAKEN_OUT,
)
"""What is done before these is not committed: the batch is as before."""
REACHED = {*UNDONE, Failpoint.RETRY_TOMBSTONED, Failpoint.RETRY_COMMITTED}

FILE = (
    SOURCE
    + """
[source.value]
discriminator = "kind"
columns = {{ F = "f" }}
[target]
dsn = "{dsn}"
"""
)
NARROW = """
CREATE SCHEMA tenant;
CREATE TABLE tenant.readings (
    ship text, channel text, at timestamp, f float8, kind text, PRIMARY KEY (ship, channel, at));
INSERT INTO tenant.readings
SELECT 's', 'old ' || n % 3, '2024-01-01'::timestamp + n * interval '1 min', n, 'F' FROM generate_series(1, 300) n
"""
ODD = """
INSERT INTO tenant.readings
SELECT CASE WHEN n % 2 = 0 THEN 's' ELSE 't' END, {channel}, '2024-02-01'::timestamp + n * interval '1 min',
    n / 8.0, 'G'
FROM generate_series(1, 100) n
"""
CHANNELS = 11  # of 100 rows each, a transaction for each: three batches
OVERTAKE = """
UPDATE tenant.readings SET f = -f - {n} WHERE kind = 'G' AND f * 8 = 20 + {n};
DELETE FROM tenant.readings WHERE kind = 'G' AND f * 8 = 40 + {n}
"""

MINE = """
SELECT count(*) FROM widebeam.quarantine
WHERE CASE WHEN raw LIKE '{{%' THEN (raw::jsonb -> 'row' ->> 2)::float8 * 8 END IN (20 + {n}, 40 + {n})
"""


class Stand(Plant):
    """A connector over the direct transport, whose stream is worked in this process."""

    def __init__(self, dsn: str, file: Path) -> None:
        super().__init__(dsn, file, FILE.format(dsn=dsn))
        self.execute(NARROW)
        self.prepare()

    def retry(self, failpoint: str = "") -> int:
        """The command, as a process; its exit code."""
        command = [sys.executable, "-m", "widebeam", "quarantine", "retry", str(self.file)]
        environment = {**os.environ, ENVIRONMENT: failpoint}
        return subprocess.run(command, env=environment, capture_output=True, check=False, timeout=120).returncode

    def shelve_bytes(self) -> None:
        """A record that could not be decoded when it came, and can be now. Its row is gone, and nobody buried it."""
        wide = {"ship": "s", "at": "2024-02-01 00:00:00"}
        stamp, columns = Stamp(self.connector.name, 1, 0, Lsn(8), 1, 0), ["channel", "f", "kind"]
        changes = Changes(stamp, "tenant.readings", wide, columns, [["u", "old 0", "1.5", "F"]])
        with connect(self.dsn) as session:
            shelved = undecodable("0:0", encode(changes), "undecodable_record", "by hand")
            quarantine.write(session, self.connector.name, [shelved])

    def shelved(self) -> int:
        ((count,),) = self.execute("SELECT count(*) FROM widebeam.quarantine")
        return count

    def overtake(self, n: int) -> None:
        """Change some rows and delete others; once the stream has them, their entries are closed by themselves."""
        before = self.shelved()
        ((mine,),) = self.execute(MINE.format(n=n))
        self.execute(OVERTAKE.format(n=n))
        until(lambda: self.shelved() == before - mine)

    def wide(self) -> Cells:
        cells: Cells = {}
        views = self.execute("SELECT DISTINCT entity, schema_name, view_name FROM widebeam.tables")
        for entity, schema, view in views:
            keys = dict(self.execute(f"SELECT column_name, key FROM widebeam.columns WHERE entity = '{entity}'"))
            for at, row in self.execute(f"SELECT at::text, to_jsonb(w) FROM {schema}.{view} AS w"):
                filled = {(json.loads(entity)[0], at, keys[name]): row[name] for name in keys if row[name] is not None}
                assert filled, f"a row of {view} at {at} has no cell"
                cells |= filled
        return cells

    def pivoted(self) -> Cells:
        """The same by DuckDB's PIVOT of the narrow rows."""
        rows = self.execute("SELECT ship, at::text, channel, f FROM tenant.readings")
        with duckdb.connect() as duck:
            duck.execute("CREATE TABLE narrow (ship text, moment text, channel text, value double)")
            duck.executemany("INSERT INTO narrow VALUES (?, ?, ?, ?)", rows)
            return pivoted(duck)


@pytest.fixture
def stand(database: str, tmp_path: Path) -> Stand:
    """Its quarantine is full, and its file is mended since."""
    made = Stand(database, tmp_path / "retried.toml")
    with made.streaming():
        for n in range(CHANNELS):
            made.execute(ODD.format(channel=f"'old {n}'" if n < 2 else f"'new {n}'"))
    assert made.shelved() == CHANNELS * 100
    made.configure(FILE.format(dsn=database).replace('F = "f"', 'F = "f", G = "f"'))
    made.prepare()
    return made


def test_killed_at_each_step_a_retry_goes_on_from_its_last_batch_and_undoes_nothing_newer(stand: Stand) -> None:
    stand.shelve_bytes()
    for n, point in enumerate(UNDONE):
        assert stand.retry(f"{point}=crash") == -signal.SIGKILL
        assert stand.shelved() == 1101
        stand.execute(OVERTAKE.format(n=n))
    with stand.streaming():
        until(lambda: stand.shelved() == 1101 - len(UNDONE) * 2 * CHANNELS)
        assert stand.retry(f"{Failpoint.RETRY_COMMITTED}=crash") == -signal.SIGKILL
        assert stand.shelved() == 513
        stand.overtake(10)
        rest = stand.shelved() - 500
        assert stand.retry(f"{Failpoint.RETRY_TAKEN_OUT}=cut") > 0
        until(lambda: stand.shelved() == rest)  # the COMMIT was sent, and nobody heard the answer
        stand.execute(OVERTAKE.format(n=11))
        assert stand.retry(f"{Failpoint.RETRY_TOMBSTONED}=crash") == -signal.SIGKILL
        assert 0 < stand.shelved() <= rest
        assert stand.retry() == 0
        assert stand.shelved() == 0
        stand.execute(OVERTAKE.format(n=12))
    stand.backfill()
    assert stand.wide() == stand.pivoted()
    assert stand.shelved() == 0
    told = (
        "SELECT jsonb_array_length(detail -> 'entries') FROM widebeam.audit"
        " WHERE action = 'quarantine retry' ORDER BY id"
    )
    assert [count for (count,) in stand.execute(told)][:2] == [500, 500]
