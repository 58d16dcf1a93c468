"""The registry: which tables and columns there are for which entity and key, and how new ones come about.

Cached in each process. Nothing is ever taken out of it while a connector runs, so what is cached stays right, and
what is not cached is looked up before it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Mapping as Dict
from functools import lru_cache
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import errors

from cdc.failpoint import Failpoint, hit
from cdc.halt import ANEW, CONNECTOR, OVER_THE_GAP, Cause, Halt
from sink import build, caps, overflow, turn
from sink.cells import CONFLICT, IN_OVERFLOW
from sink.kinds import holds
from sink.layout import misplaced
from sink.mapping import Mapping
from sink.partitions import Days, Partitions
from sink.planned import plan
from sink.retype import record_renamed, rename, retype
from sink.wide import ALL, OVERFLOW, Column, Entity, Need, Part, Refused, identity
from sink.widen import renamings, widenings

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_DEPENDED_ON: Final = (errors.DependentObjectsStillExist, errors.FeatureNotSupported)


class Retyped(Exception):
    """Another process has widened or renamed columns since ours were read: `refresh`, and stage anew."""


class Registry:
    """One connector's tables and columns. `entities` is by identity, and is only ever added to.

    Columns may be widened or renamed: `changes` counts that.

    The connections that its methods take must be in autocommit, outside a transaction.
    """

    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping
        self.entities: dict[str, Entity] = {}
        self.changes = 0
        self._partitions = None if mapping.partition_by is None else Partitions(mapping, mapping.partition_by)

    @property
    def parts(self) -> list[Part]:
        """Every wide table, in the order in which they are locked."""
        every = [part for entity in self.entities.values() for part in entity.parts.values()]
        return sorted(every, key=lambda part: part.table)

    def refresh(self, connection: Connection) -> None:
        """Read again what there is."""
        connector = [self.mapping.connector]
        # Columns first: another process may make a table with its columns between the two, never one without the other.
        columns = connection.execute(_COLUMNS, connector).fetchall()
        for row in connection.execute(_TABLES, connector):
            self._entity(row[0], row[4]).parts[row[1]] = Part(*row)
        for row in columns:
            self.entities[row[0]].add(Column(*row[1:]))
        self.changes = sum(row[-1] for row in columns)

    def ensure(self, connection: Connection, needs: Iterable[Need]) -> Refused:
        """Make tables and columns for these keys where there are none; answer the keys that cannot have one.

        Commits on its own: a column without a value does no harm. Waits for readers of the tables by short attempts,
        so that nobody queues behind it. Raises Halt when that is in vain for two minutes.
        """
        self.refresh(connection)
        missing, refused = self._sorted_out(needs)
        if self.mapping.unknown_key == "reject":
            unknown = [need for need in missing if self._column(need) is None]
            refused |= {(self._of(need), need.key): ("unknown_key", "no column for it") for need in unknown}
            missing = [need for need in missing if self._column(need) is not None]
        if not missing:
            return refused
        try:
            for attempt in turn.attempts():
                with attempt:
                    more = self._extend(connection, missing)
        except turn.CLASH as error:
            raise self._in_vain([need.key for need in missing], error) from error
        hit(Failpoint.COLUMNS_MADE)
        self.refresh(connection)
        return refused | more

    def cover(self, connection: Connection, days: Callable[[], Days], *, anew: bool = False) -> None:
        """Where tables are partitioned: make the partitions for rows of these days, each in a transaction of its own.

        Neither readers nor writers wait for that. `anew`: somebody has taken partitions away that were there. Raises
        Halt when somebody is in the way for two minutes.
        """
        if self._partitions is None:
            return
        if anew:
            self._partitions.forget()
        for part, periods in self._partitions.missing(connection, days()).items():
            try:
                for attempt in turn.attempts():
                    with attempt, connection.transaction():
                        turn.take(connection)  # not more: who calls has rows laid out by the columns that we know
                        self._partitions.make(connection, part, periods, build.folded_names(connection, part.schema))
            except turn.CLASH as error:
                raise Halt(
                    Cause.REPEATED_FAILURE,
                    f'no partition of "{part.schema}"."{part.table}" could be made for {min(periods).name}'
                    f" in {turn.GIVE_UP_AFTER:.0f} s: {error}",
                    "look for a session that holds a lock on it, or a partition that is half detached",
                ) from error
            hit(Failpoint.PARTITIONS_MADE)
            self._partitions.made(part, periods)

    def hold(self, connection: Connection) -> None:
        """In the open transaction, before all else: no column is widened until its end. Raises Retyped.

        A staging table that has a column's old type would go through a cast, which may print another text.
        """
        if self.mapping.type_conflict == "widen" or self.mapping.rule.dictionary is not None:
            turn.share(connection)
            if _widened(connection, self.mapping.connector) != self.changes:
                raise Retyped

    def rename(self, connection: Connection, decide: Callable[[], Dict[str, str]]) -> int:
        """Entries of the dictionary have other names: their columns get the keys (old -> new); how many did.

        `decide` tells them inside the transaction, when nobody else renames any more; it may be asked again. Commits on
        its own. Raises Halt when readers are in the way for two minutes.
        """
        try:
            for attempt in turn.attempts():
                with attempt:
                    renamed = self._rename(connection, decide)
        except turn.CLASH as error:
            raise self._in_vain(["a renamed one"], error) from error
        self.refresh(connection)
        return renamed

    def _rename(self, connection: Connection, decide: Callable[[], Dict[str, str]]) -> int:
        with connection.transaction():
            self._begin(connection)
            keys = decide()
            found = [(each, renamings(self.mapping, each, keys)) for each in self.entities.values()]
            if any(changes for _, changes in found):
                turn.stop_the_others(connection)
            for changes in [changes for _, changes in found if changes]:
                try:
                    with connection.transaction():
                        rename(connection, self.mapping, changes)
                except _DEPENDED_ON:  # something of somebody's shows the column: it keeps its name, and gets the key
                    kept = [each._replace(after=each.after._replace(name=each.before.name)) for each in changes]
                    record_renamed(connection, self.mapping, kept)
            return sum(len(changes) for _, changes in found)

    def _begin(self, connection: Connection) -> None:
        """At the start of a transaction that changes tables: nobody else does, and what others did is seen."""
        turn.take(connection)
        self.refresh(connection)

    def check(self, connection: Connection) -> None:
        """Raise Halt if a table or a column of ours is not there any more, or has another type."""
        gone = connection.execute(_GONE, [self.mapping.connector]).fetchone()
        if gone is not None:
            schema, table, column, wanted, found = gone
            what = f'table "{schema}"."{table}"' if column is None else f'column "{column}" of "{schema}"."{table}"'
            state = "is gone" if found is None else f"is now {found}, and was made as {wanted}"
            raise Halt(
                Cause.TARGET_CHANGED,
                f"the {what} {state}",
                f"put it back as it was, empty will do; then {OVER_THE_GAP} Or {ANEW}",
            )

    def _entity(self, entity: str, view: str) -> Entity:
        found = self.entities.get(entity)
        if found is None:
            found = self.entities[entity] = Entity(entity, view)
        return found

    def _of(self, need: Need) -> str:
        return ALL if self.mapping.layout == "single" else _identity(need.values)

    def _column(self, need: Need) -> Column | None:
        return self.entities.get(self._of(need), _NOTHING).columns.get(need.key)

    def _sorted_out(self, needs: Iterable[Need]) -> tuple[list[Need], Refused]:
        """Which of these keys still have no column, or one that is to be widened; and which cannot have one."""
        missing: list[Need] = []
        refused: Refused = {}
        for need in needs:
            reason = None if need.key == OVERFLOW else misplaced(need.key)
            column = self._column(need)
            if reason is not None:
                refused[self._of(need), need.key] = reason
            elif column is None or (self.mapping.type_conflict == "widen" and not holds(column.type, need.type)):
                missing.append(need)
        return missing, refused

    def _extend(self, connection: Connection, missing: list[Need]) -> Refused:
        """One attempt, one transaction: nobody else plans at the same time, and what others did meanwhile is seen."""
        with connection.transaction():
            self._begin(connection)
            missing, _ = self._sorted_out(missing)
            new = [need for need in missing if self._column(need) is None]
            inside = self._in_overflow(connection, new)
            new = [need for need in new if (self._of(need), need.key) not in inside]
            lately = _made_lately(connection, self.mapping.connector)
            new, refused = caps.within(self.mapping, self.entities, new, lately)
            if new:
                build.make_schema(connection, self.mapping.schema)
                build.check_types(connection, self.mapping, new)
                taken = build.taken(connection, self.mapping.schema)
                build.make(connection, self.mapping, plan(self.mapping, self.entities, new, taken))
            refused |= inside
            return refused | self._widen(connection, [need for need in missing if self._column(need) is not None])

    def _in_overflow(self, connection: Connection, needs: list[Need]) -> Refused:
        """Keys that have cells in the overflow stay there: a key's cells are not to be in two places."""
        refused: Refused = {}
        for name in {self._of(need) for need in needs}:
            entity = self.entities.get(name, _NOTHING)
            if entity.overflow is not None:
                keys = {need.key for need in needs if self._of(need) == name}
                found = overflow.members(connection, entity.parts[entity.overflow.part], entity.overflow, keys)
                refused |= {(name, key): (IN_OVERFLOW, "its readings are in the overflow") for key in found}
        return refused

    def _widen(self, connection: Connection, needs: list[Need]) -> Refused:
        """Widen columns, entity by entity: where something of somebody's depends on one, its readings are refused."""
        found, refused = widenings(self.mapping, self.entities, needs)
        if found:
            turn.stop_the_others(connection)
        for name in sorted({each.entity.identity for each in found}):
            mine = [each for each in found if each.entity.identity == name]
            try:
                with connection.transaction():
                    retype(connection, self.mapping, mine)
            except _DEPENDED_ON as error:
                why = f"its column cannot be widened: {error.diag.message_detail or error.diag.message_primary}"
                refused |= {(name, each.before.key): (CONFLICT, why) for each in mine}
                for each in mine:
                    each.entity.add(each.before)
        return refused

    def _in_vain(self, missing: list[str], error: Exception) -> Halt:
        return Halt(
            Cause.REPEATED_FAILURE,
            f"no columns could be made for {len(missing)} keys, among them {missing[0]!r},"
            f" in {turn.GIVE_UP_AFTER:.0f} s: {error}",
            f"look for a session that holds a lock on the wide tables, and `widebeam run {CONNECTOR}`",
        )


_identity = lru_cache(4096)(identity)
_NOTHING: Final = Entity("", "")

_TABLES: Final = (
    "SELECT entity, part, schema_name, table_name, view_name, group_name, group_view FROM widebeam.tables"
    " WHERE connector = %s ORDER BY entity, part"
)
_COLUMNS: Final = (
    "SELECT entity, ordinal, part, key, column_name, column_type, source, widened FROM widebeam.columns"
    " WHERE connector = %s ORDER BY entity, ordinal"
)
_GONE: Final = """
SELECT t.schema_name, t.table_name, c.column_name, c.column_type, format_type(a.atttypid, a.atttypmod)
FROM widebeam.tables t
LEFT JOIN pg_class r ON r.relname = t.table_name AND r.relnamespace = to_regnamespace(quote_ident(t.schema_name))
LEFT JOIN widebeam.columns c ON r.oid IS NOT NULL AND (c.connector, c.entity, c.part) = (t.connector, t.entity, t.part)
LEFT JOIN pg_attribute a ON a.attrelid = r.oid AND a.attname = c.column_name AND NOT a.attisdropped
WHERE t.connector = %s AND (
    r.oid IS NULL
    OR c.column_name IS NOT NULL AND format_type(a.atttypid, a.atttypmod) IS DISTINCT FROM c.column_type
)
ORDER BY 2, 3 LIMIT 1
"""


def _made_lately(connection: Connection, connector: str) -> int:
    row = connection.execute(
        "SELECT count(*) FROM widebeam.columns WHERE connector = %s AND created_at > now() - interval '1 hour'",
        [connector],
    ).fetchone()
    return 0 if row is None else int(row[0])


def _widened(connection: Connection, connector: str) -> int:
    row = connection.execute(
        "SELECT coalesce(sum(widened), 0) FROM widebeam.columns WHERE connector = %s AND widened > 0", [connector]
    ).fetchone()
    return 0 if row is None else int(row[0])
