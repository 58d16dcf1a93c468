"""What this process holds: files, threads, objects, memory. For tests of what happens again and again for months."""

from __future__ import annotations

import ctypes
import gc
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple

import psutil
import psycopg

from tests.waiting import StillNot, until

OBJECTS: Final = 8
"""Objects that one time may leave behind, on average: caches fill slowly. A connection alone has more than that."""

BYTES: Final = 16 * 1024
"""Memory that one time may leave behind, on average: half of what a connection to PostgreSQL takes for its buffers."""


class Footprint(NamedTuple):
    """`heap` is in bytes, those of C libraries."""

    files: int
    threads: int
    objects: int
    heap: int

    def holds(self, limit: Footprint) -> bool:
        """Whether nothing is above the limit."""
        return all(is_now <= most for is_now, most in zip(self, limit, strict=True))


class _Mallinfo(ctypes.Structure):
    """Glibc's struct mallinfo2."""

    _names: Final = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in _names.split()]


def footprint() -> Footprint:
    """What this process holds now."""
    gc.collect()
    ours = psutil.Process()
    return Footprint(ours.num_fds(), ours.num_threads(), len(gc.get_objects()), _heap(ours))


def assert_nothing_is_left(again: Callable[[], object], times: int) -> None:
    """Do it some times to warm up, then so many times: no file and no thread more, and no OBJECTS or BYTES each.

    What goes on in a thread that is ending may still hold something: that is waited for.
    """
    with _unlogged():
        for _ in range(max(times // 5, 3)):
            again()
        before, kinds = footprint(), _kinds()
        limit = before._replace(objects=before.objects + times * OBJECTS, heap=before.heap + times * BYTES)
        for _ in range(times):
            again()
        with suppress(StillNot):
            until(lambda: footprint().holds(limit), 30)
        now, more = footprint(), _kinds() - kinds
        assert now.holds(limit), f"after {times} times {now}, and before {before}; more: {more.most_common(12)}"


def terminate(admin: psycopg.Connection[Any], *names: str) -> int:
    """End the sessions in this database whose application has one of these names (LIKE); how many there were."""
    chosen = "FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE ANY(%s)"
    ended = admin.execute(f"SELECT pid, pg_terminate_backend(pid) {chosen}", [list(names)]).fetchall()
    left = f"SELECT count(*) {chosen} AND pid = ANY(%s)"
    until(lambda: admin.execute(left, [list(names), [pid for pid, _ in ended]]).fetchone() == (0,))
    return len(ended)


@contextmanager
def _unlogged() -> Iterator[None]:
    """Pytest keeps every record of the log."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _kinds() -> Counter[str]:
    return Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())


def _heap(ours: psutil.Process) -> int:
    """Bytes in use by malloc, of all threads; where the C library does not tell, what is resident."""
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return int(ours.memory_info().rss)
    mallinfo.restype = _Mallinfo
    told = mallinfo()
    return int(told.uordblks + told.hblkhd)
