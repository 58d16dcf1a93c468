"""What pgoutput says, as values: one type for each message kind, and `Event` as their sum.

The types are NamedTuples, not dataclasses, because one is made for each row of the stream and a tuple costs a fifth
of a frozen dataclass.

Source: PostgreSQL documentation, "Logical Replication Message Formats" (protocol version 1).
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal, NamedTuple, TypeAlias

from cdc.lsn import Lsn


class Unchanged(Enum):
    """The value of a TOASTed column that an UPDATE did not touch: the server does not send it.

    Its enum value is what stands for it in a JSON record: orjson writes an enum as its value, without being asked.
    """

    UNCHANGED = False

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = Unchanged.UNCHANGED

Value: TypeAlias = "str | Literal[Unchanged.UNCHANGED] | None"
"""A column's value: its text as the server's output function writes it, None for NULL, or UNCHANGED."""

Row: TypeAlias = "tuple[Value, ...]"
"""One value for each column of the relation, in the relation's order."""


class Column(NamedTuple):
    """A column of a published relation; `identity` tells whether it is part of the replica identity."""

    name: str
    type_oid: int
    type_modifier: int
    identity: bool


class Relation(NamedTuple):
    """A published table as it was when the rows that follow were written.

    `replica_identity` is pg_class.relreplident: d (primary key), n (nothing), f (full row), i (index).
    """

    oid: int
    schema: str
    name: str
    replica_identity: str
    columns: tuple[Column, ...]


class Begin(NamedTuple):
    """A transaction starts. `final_lsn` is its commit LSN: the position of all that is in it.

    `commit_time` is in microseconds since 1970-01-01 UTC.
    """

    final_lsn: Lsn
    commit_time: int
    xid: int


class Commit(NamedTuple):
    """A transaction ends. `end_lsn` is what may be acknowledged; it may equal the next Begin's LSN."""

    commit_lsn: Lsn
    end_lsn: Lsn
    commit_time: int


class Origin(NamedTuple):
    """The transaction came from another node by replication."""

    commit_lsn: Lsn
    name: str


class Type(NamedTuple):
    """A data type that a relation's column uses and that is not built in."""

    oid: int
    schema: str
    name: str


MESSAGE_BYTES: Final = 1024
"""Of a message's content that is looked at, at the most."""


class Message(NamedTuple):
    """pg_logical_emit_message. `lsn` is where the message itself stands. Anybody who may connect can emit one, of any
    size: of more than MESSAGE_BYTES only the `size` is told, and `content` is empty."""

    transactional: bool
    lsn: Lsn
    prefix: str
    content: bytes
    size: int = 0


class Insert(NamedTuple):
    """A row was inserted."""

    relation: Relation
    new: Row


class Inserts(NamedTuple):
    """Rows were inserted, one after the other, into one relation: a run of Insert messages that were read at once."""

    relation: Relation
    rows: list[Row]


class Single(NamedTuple):
    """A whole transaction that inserted one row, read at once, since of such there can be many.

    `final_lsn` and `commit_time` are the same in its Begin and its Commit.
    """

    final_lsn: Lsn
    commit_time: int
    xid: int
    insert: Insert
    end_lsn: Lsn


class Update(NamedTuple):
    """A row was updated.

    `old` is None when the replica identity's values did not change; `old_is_full` tells a whole old row
    (REPLICA IDENTITY FULL) from one that holds the identity's columns only, the rest None.
    """

    relation: Relation
    old: Row | None
    old_is_full: bool
    new: Row


class Delete(NamedTuple):
    """A row was deleted; `old` as in Update."""

    relation: Relation
    old: Row
    old_is_full: bool


class Truncate(NamedTuple):
    """Tables were truncated together."""

    relations: tuple[Relation, ...]
    cascade: bool
    restart_identity: bool


Event: TypeAlias = (
    "Begin | Commit | Origin | Relation | Type | Message | Insert | Inserts | Single | Update | Delete | Truncate"
)
