"""A connector over the direct transport whose parts are worked in the test's own process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from cdc.source.session import connect
from snapshot.run import Backfill, BackfillSettings
from tests.beside import beside
from widebeam.config import config
from widebeam.run.parts import run_stream
from widebeam.setup.prepare import prepare
from widebeam.verify.fence import Fence
from widebeam.verify.proof import VerifyReport, VerifySettings
from widebeam.verify.verify import verify


class Plant:
    """One database is its source and its target; `ready` is what the last `prepare` made of it."""

    def __init__(self, dsn: str, file: Path, text: str) -> None:
        self.dsn, self.file = dsn, file
        self.configure(text)

    def configure(self, text: str) -> None:
        """The connector is from now on what this file says."""
        self.file.write_text(text)
        self.connector = config.load(str(self.file), {})

    def execute(self, statement: str, *parameters: object) -> list[Any]:
        """The rows of the last statement, if it has any. What names no schema is in public."""
        with connect(self.dsn, autocommit=True) as session:
            session.execute("SET search_path = public")
            cursor = session.execute(statement.encode(), parameters or None)
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []

    def prepare(self) -> None:
        self.ready = prepare(self.connector)

    def backfill(self) -> None:
        Backfill(BackfillSettings(self.ready.mapping, self.dsn, self.dsn)).run(Event())

    def verify(self, patience: float = 60) -> VerifyReport:
        return verify(VerifySettings(self.ready.mapping, self.dsn, self.dsn, chunk_rows=100, patience=patience))

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """The stream is worked until the end of the block, by which all that was committed in it is applied."""
        with beside(partial(run_stream, self.connector, self.ready)):
            yield
            self.pass_all()

    def pass_all(self) -> None:
        """All that is committed by now is applied."""
        with connect(self.dsn, autocommit=True) as session:
            fence = Fence(session, session, self.connector.name, 60)
            fence.pass_all()
            assert fence.holds
