"""What a connector leaves behind: while it is set up, after it has ended, and after `widebeam drop`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import psutil
import psycopg
from confluent_kafka.admin import AdminClient

from tests.faults.stand import Stand

_AT_REST: Final = {
    "sessions": "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'widebeam%'",
    "prepared transactions": "SELECT count(*) FROM pg_prepared_xacts",
    "staging tables": "SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND relkind = 'r'",
    "temporary files": "SELECT count(*) FROM pg_ls_tmpdir()",
    "locks": "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'",
}
_GONE: Final = {
    "slots": "SELECT count(*) FROM pg_replication_slots",
    "publications": "SELECT count(*) FROM pg_publication",
    "schemas": "SELECT count(*) FROM pg_namespace WHERE nspname IN ('wide', 'widebeam')",
}


def at_rest(stand: Stand) -> dict[str, int]:
    """After `widebeam run` has ended: what is left that should not be, by name. One slot and its publication stay."""
    found = _of_servers(stand, _AT_REST)
    found["slots"] = _count(stand.pipeline.source, _GONE["slots"]) - 1
    found["processes"] = len(_processes(stand.directory))
    found["files"] = sum(1 for file in (stand.directory / "tmp").rglob("*") if file.is_file())
    return {name: number for name, number in found.items() if number}


def after_drop(stand: Stand) -> dict[str, int]:
    """After `widebeam drop`: what is left at all, by name."""
    found = _of_servers(stand, {**_AT_REST, **_GONE})
    admin = AdminClient({"bootstrap.servers": stand.broker.bootstrap, "log_level": 0})
    found["topics"] = sum(not name.startswith("__") for name in admin.list_topics(timeout=30).topics)
    found["groups"] = len(admin.list_consumer_groups().result(timeout=30).valid)
    return {name: number for name, number in found.items() if number}


def _of_servers(stand: Stand, questions: dict[str, str]) -> dict[str, int]:
    servers = {"source": stand.pipeline.source, "target": stand.pipeline.dsn}
    return {
        f"{what} of the {name}": _count(dsn, query)
        for name, dsn in servers.items()
        for what, query in questions.items()
    }


def _count(dsn: str, query: str) -> int:
    with psycopg.connect(dsn, autocommit=True) as session:
        row: tuple[Any, ...] | None = session.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0


def _processes(directory: Path) -> list[psutil.Process]:
    """Processes of widebeam that work on a stand, but for its servers."""
    file = str(directory / "stand.toml")
    return [each for each in psutil.process_iter(["cmdline"]) if file in (each.info["cmdline"] or ())]
