"""The registry: which tables and columns there are for which entity and key, and how new ones come about."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from collections.abc import Mapping as Dict
from typing import Any, Final, TypeAlias

import psycopg

from cdc.failpoint import Failpoint, hit
from cdc.halt import ANEW, CONNECTOR, OVER_THE_GAP, Cause, Halt
from sink.mapping.mapping import Mapping
from sink.mapping.wide import Entity, Need, Part, Refused
from sink.wide import build, ddl_lock
from sink.wide.extension import DEPENDED_ON, REWRITTEN, Extension
from sink.wide.known import Known, widened
from sink.wide.partitions import Days, Partitions
from sink.wide.retype import domains, record_renamed, rename, retype
from sink.wide.widen import renamings

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_LOG: Final = logging.getLogger(__name__)


class Retyped(Exception):
    """Another process has widened or renamed columns since ours were read: `refresh`, and stage anew."""


class Registry:
    """One connector's tables and columns, as they are known, as they come about, and as they are found to be.

    The connections that its methods take must be in autocommit, outside a transaction.
    """

    def __init__(self, mapping: Mapping, *, rewrites: int | None = REWRITTEN) -> None:
        """`rewrites`: bytes of a table that is rewritten to widen a column, at most; None if its readers can wait."""
        self.mapping, self._rewrites = mapping, rewrites
        self._known = Known(mapping)
        self._partitions = None if mapping.partition_by is None else Partitions(mapping, mapping.partition_by)

    @property
    def entities(self) -> dict[str, Entity]:
        """What is known, by identity: the same dictionary always, and only ever added to."""
        return self._known.entities

    @property
    def changes(self) -> int:
        """How often columns were widened or renamed, as far as is known."""
        return self._known.changes

    @property
    def parts(self) -> list[Part]:
        """Every wide table that is known, in the order in which they are locked."""
        return self._known.parts

    def refresh(self, connection: Connection) -> None:
        """Read again what there is."""
        self._known.refresh(connection)

    def ensure(self, connection: Connection, needs: Iterable[Need]) -> Refused:
        """Make tables and columns for these keys where there are none; answer the keys that cannot have one.

        Commits on its own: a column without a value does no harm. Waits for readers of the tables by short attempts,
        so that nobody queues behind it. Raises Halt when that is in vain for two minutes.
        """
        needs = list(needs)
        entities = {self._known.of(need) for need in needs}
        self._known.look(connection, entities)
        extension = Extension(self._known, connection, self._rewrites)
        missing, refused = extension.sorted_out(needs)
        if self.mapping.unknown_key == "reject":
            unknown = [need for need in missing if self._known.column(need) is None]
            refused |= {(self._known.of(need), need.key): ("unknown_key", "no column for it") for need in unknown}
            missing = [need for need in missing if self._known.column(need) is not None]
        refused |= (large := extension.too_large(missing))
        missing = [need for need in missing if (self._known.of(need), need.key) not in large]
        if not missing:
            return refused
        try:
            more = extension.make(missing)
        except ddl_lock.CLASH as error:
            raise self._in_vain([need.key for need in missing], error) from error
        hit(Failpoint.COLUMNS_MADE)
        self._known.look(connection, entities)
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
                for attempt in ddl_lock.attempts():
                    with attempt, connection.transaction():
                        ddl_lock.take(connection)  # not more: who calls has rows laid out by the columns that we know
                        self._partitions.make(connection, part, periods, build.folded_names(connection, part.schema))
            except ddl_lock.CLASH as error:
                raise Halt(
                    Cause.REPEATED_FAILURE,
                    f'no partition of "{part.schema}"."{part.table}" could be made for {min(periods).name}'
                    f" in {ddl_lock.GIVE_UP_AFTER:.0f} s: {error}",
                    "look for a session that holds a lock on it, or a partition that is half detached",
                ) from error
            hit(Failpoint.PARTITIONS_MADE)
            self._partitions.made(part, periods)

    def hold(self, connection: Connection) -> None:
        """In the open transaction, before all else: no column is widened until its end. Raises Retyped.

        A staging table that has a column's old type would go through a cast, which may print another text.
        """
        if self.mapping.type_conflict == "widen" or self.mapping.rule.dictionary is not None:
            ddl_lock.share(connection)
            if widened(connection, self.mapping.connector) != self.changes:
                raise Retyped

    def rename(self, connection: Connection, decide: Callable[[], Dict[str, str]]) -> int:
        """Entries of the dictionary have other names: their columns get the keys (old -> new); how many did.

        `decide` tells them inside the transaction, when nobody else renames any more; it may be asked again. Commits on
        its own. Raises Halt when readers are in the way for two minutes.
        """
        try:
            for attempt in ddl_lock.attempts():
                with attempt:
                    renamed = self._rename(connection, decide)
        except ddl_lock.CLASH as error:
            raise self._in_vain(["a renamed one"], error) from error
        self.refresh(connection)
        return renamed

    def _rename(self, connection: Connection, decide: Callable[[], Dict[str, str]]) -> int:
        with connection.transaction():
            self._begin(connection)
            keys = decide()
            found = [(each, renamings(self.mapping, each, keys)) for each in self.entities.values()]
            if any(changes for _, changes in found):
                ddl_lock.stop_the_others(connection)
            for changes in [changes for _, changes in found if changes]:
                try:
                    with connection.transaction():
                        rename(connection, self.mapping, changes)
                except DEPENDED_ON:  # something of somebody's shows the column: it keeps its name, and gets the key
                    kept = [each._replace(after=each.after._replace(name=each.before.name)) for each in changes]
                    record_renamed(connection, self.mapping, kept)
            return sum(len(changes) for _, changes in found)

    def leave_domains(self, connection: Connection) -> None:
        """Columns that an earlier version made as a domain become what it is made of: none of them may refuse a NULL.

        Nothing is rewritten, but where the domain is of a type with a length. One that something of somebody's shows
        stays as it is, and that is said.
        """
        found = domains(connection, self.entities)
        for identity in sorted({each.entity.identity for each in found}):
            try:
                for attempt in ddl_lock.attempts():
                    with attempt, connection.transaction():
                        self._begin(connection)  # a view is made anew from what is known: that has to be all of it
                        mine = domains(connection, {identity: self.entities[identity]})
                        ddl_lock.stop_the_others(connection)
                        retype(connection, self.mapping, mine)
            except DEPENDED_ON as error:
                names = ", ".join(f"{each.before.name} ({each.before.type})" for each in mine)
                view = mine[0].entity.view
                _LOG.warning(
                    "%s of %s keep their domains, which may refuse readings: %s",
                    names, view, error.diag.message_detail or error.diag.message_primary,
                )  # fmt: skip
        self.refresh(connection)

    def _begin(self, connection: Connection) -> None:
        """At the start of a transaction that changes tables: nobody else does, and what others did is seen."""
        ddl_lock.take(connection)
        self.refresh(connection)

    def check(self, connection: Connection) -> None:
        """Raise Halt if a table or a column of ours is not there any more, or has another type."""
        gone = connection.execute(_GONE, {"connector": self.mapping.connector}).fetchone()
        if gone is not None:
            schema, table, column, wanted, found = gone
            what = f'table "{schema}"."{table}"' if column is None else f'column "{column}" of "{schema}"."{table}"'
            state = "is gone" if found is None else f"is now {found}, and was made as {wanted}"
            raise Halt(
                Cause.TARGET_CHANGED,
                f"the {what} {state}",
                f"put it back as it was, empty will do; then {OVER_THE_GAP} Or {ANEW}",
            )

    def _in_vain(self, missing: list[str], error: Exception) -> Halt:
        return Halt(
            Cause.REPEATED_FAILURE,
            f"no columns could be made for {len(missing)} keys, among them {missing[0]!r},"
            f" in {ddl_lock.GIVE_UP_AFTER:.0f} s: {error}",
            f"look for a session that holds a lock on the wide tables, and `widebeam run {CONNECTOR}`",
        )


# What there should be, without what there is: compared as sets, since a look-up of each column among those of its table
# takes seconds where there are a thousand. A table without columns of ours has a line of its own on both sides.
_GONE: Final = """
SELECT m.schema_name, m.table_name, CASE WHEN r.oid IS NOT NULL THEN m.column_name END, m.column_type,
    format_type(a.atttypid, a.atttypmod)
FROM (
    SELECT t.schema_name, t.table_name, c.column_name, c.column_type
    FROM widebeam.tables t LEFT JOIN widebeam.columns c USING (connector, entity, part)
    WHERE t.connector = %(connector)s
    EXCEPT
    SELECT t.schema_name, t.table_name, a.attname::text, format_type(a.atttypid, a.atttypmod)
    FROM widebeam.tables t
    JOIN pg_class r ON r.relname = t.table_name AND r.relnamespace = to_regnamespace(quote_ident(t.schema_name))
    CROSS JOIN LATERAL (
        SELECT attname, atttypid, atttypmod FROM pg_attribute WHERE attrelid = r.oid AND attnum > 0 AND NOT attisdropped
        UNION ALL SELECT NULL, NULL, NULL
    ) a
    WHERE t.connector = %(connector)s
) m
LEFT JOIN pg_class r ON r.relname = m.table_name AND r.relnamespace = to_regnamespace(quote_ident(m.schema_name))
LEFT JOIN pg_attribute a ON a.attrelid = r.oid AND a.attname = m.column_name AND NOT a.attisdropped
ORDER BY 2, 3 LIMIT 1
"""
