"""Verbs that only look, in this very process: another one takes longer to start than they take to look.

Every verb as a process of its own, with its exit codes and errors, is in tests/widebeam/cli.
"""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from typer.testing import CliRunner

from cdc.source.session import connect
from widebeam.cli import app
from widebeam.cli.outcome import explained

VERBS = frozenset({"check", "plan", "status", "verify"})


def look(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """What the verb says and how it ends, as from outside."""
    with _log_as_before():
        done = CliRunner().invoke(app, list(arguments), env=environment)
    code, said = done.exit_code, done.stderr
    if isinstance(done.exception, Exception):
        message, code = explained(done.exception)
        said = f"{said}{message}\n"
    return subprocess.CompletedProcess(arguments, code, done.stdout, said)


@contextmanager
def _log_as_before() -> Iterator[None]:
    """A verb sets its log up for its own standard error, which goes with it."""
    root, level = logging.getLogger(), logging.getLogger().level
    handlers = root.handlers[:]
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def writes(database: str, what: Callable[[], object], attempts: int = 5) -> bool:
    """Whether `what` takes a transaction id each time; autovacuum and others of the server's take one now and then."""
    spent = "SELECT pg_current_xact_id()::text::bigint"
    with connect(database, autocommit=True) as session:
        for _ in range(attempts):
            (before,) = session.execute(spent).fetchone() or (0,)
            what()
            if session.execute(spent).fetchone() == (before + 1,):
                return False
    return True
