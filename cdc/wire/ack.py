"""The acknowledger: which flush position the slot may be told.

Rule (2-protocols.md, section 2 of the design): the end of a commit such that every record of it and of every commit
before it is durable; never the middle of a transaction; with nothing in flight, the keepalive's WAL end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from cdc.lsn import Lsn

_new: Final = tuple.__new__  # makes a NamedTuple without the call of its Python-level __new__


class _Finished(NamedTuple):
    """A transaction that was read wholly: tokens below `until` are of it or of those before it."""

    until: int
    end: Lsn


class Acknowledger:
    """Gives out tokens for records, takes back those that are durable, in any order, and knows what follows from it."""

    def __init__(self, acknowledged: Lsn) -> None:
        """Start at what was acknowledged before: the answer never goes below it."""
        self._acknowledged = acknowledged
        self._next = 0  # the next token
        self._low = 0  # every token below is durable
        self._early: set[int] = set()  # durable tokens above _low
        self._finished: deque[_Finished] = deque()
        self._open = False

    @property
    def acknowledged(self) -> Lsn:
        """The highest position that may be told to the slot; it never goes back."""
        return self._acknowledged

    @property
    def in_flight(self) -> int:
        """Records that are not known to be durable."""
        return self._next - self._low - len(self._early)

    @property
    def idle(self) -> bool:
        """Nothing is read in part, and nothing is in flight."""
        return not self._open and not self._finished and self._low == self._next

    def began(self) -> None:
        """A transaction starts."""
        self._open = True

    def token(self) -> int:
        """The token for the next record of the transaction that is being read."""
        token = self._next
        self._next += 1
        return token

    def committed(self, end: Lsn) -> None:
        """The transaction is read wholly; `end` is its commit's end LSN."""
        self._open = False
        self._finished.append(_new(_Finished, (self._next, end)))
        self._advance()

    def delivered(self, tokens: Iterable[int]) -> None:
        """The records of these tokens are durable."""
        early, low = self._early, self._low
        early.update(tokens)
        while low in early:
            early.remove(low)
            low += 1
        self._low = low
        self._advance()

    def passed(self, wal_end: Lsn) -> None:
        """A keepalive: the server has sent all that it had to send below `wal_end`.

        An idle table in a busy database must not hold WAL for ever, so with nothing in flight this is acknowledged.
        """
        if self.idle:
            self._acknowledged = max(self._acknowledged, wal_end)

    def _advance(self) -> None:
        while self._finished and self._finished[0].until <= self._low:
            self._acknowledged = max(self._acknowledged, self._finished.popleft().end)
