"""How tables and columns come about for new keys, and how columns are widened for readings that they do not hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import errors

from sink.fold.set_or_clear import IN_OVERFLOW
from sink.mapping.kinds import holds
from sink.mapping.names import misplaced
from sink.mapping.wide import OVERFLOW, Entity, Need, Refused
from sink.wide import build, column_limits, ddl_lock, overflow_keys
from sink.wide.known import Known
from sink.wide.planned import Names, plan
from sink.wide.retype import retype
from sink.wide.widen import not_widened, widenings

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

DEPENDED_ON: Final = (errors.DependentObjectsStillExist, errors.FeatureNotSupported)
"""What of somebody's shows a column, so that it cannot be changed."""

REWRITTEN: Final = 16 * 2**20
"""Bytes of a table, with its index, that is rewritten by the way so that one of its columns is widened: some 0.3 s in
which nobody reads it. Three million readings took 6.5 s."""

AT_ONCE: Final = 200
"""Entities in one transaction. All that it makes stays locked until its end, five locks for an entity, and a server as
it is installed has room for some 7,000 in all."""


COLUMNS_AT_ONCE: Final = 20_000
"""Columns in one transaction, if it has more than one entity: the statements for all go together."""


class Extension:
    """One making of columns, in several transactions where there are many entities."""

    def __init__(self, known: Known, connection: Connection, rewrites: int | None = None) -> None:
        self._known, self._connection, self._mapping = known, connection, known.mapping
        self._rewrites = rewrites
        self._names = Names(lambda: build.taken(connection, self._mapping.schema))
        self._lately: int | None = None

    def sorted_out(self, needs: Iterable[Need]) -> tuple[list[Need], Refused]:
        """Which of these keys still have no column, or one that is to be widened; and which cannot have one."""
        missing: list[Need] = []
        refused: Refused = {}
        for need in needs:
            reason = None if need.key == OVERFLOW else misplaced(need.key)
            column = self._known.column(need)
            if reason is not None:
                refused[self._known.of(need), need.key] = reason
            elif column is None or (self._mapping.type_conflict == "widen" and not holds(column.type, need.type)):
                missing.append(need)
        return missing, refused

    def too_large(self, missing: Iterable[Need]) -> Refused:
        """Those of the keys whose column is not widened, since its table is too large to be rewritten meanwhile."""
        refused: Refused = {}
        for need in missing:
            column, name = self._known.column(need), self._known.of(need)
            if column is None or self._rewrites is None or (name, need.key) in refused:
                continue
            entity = self._known.entities[name]
            part = entity.parts[column.part]
            row = self._connection.execute(_SIZE, [part.schema, part.table]).fetchone()
            size = 0 if row is None else int(row[0])
            if size > self._rewrites:
                why = (
                    f"it has {size // 2**20} MB, and nobody could read it while it is rewritten. When that suits,"
                    f" `widebeam quarantine retry {self._mapping.connector} --widen` does it"
                )
                refused[name, need.key] = not_widened(entity, column, need.type, why)
        return refused

    def make(self, missing: list[Need]) -> Refused:
        """Make them; answer the keys that get no column. Raises one of ddl_lock.CLASH when others are in the way."""
        refused: Refused = {}
        for some in self._portions(missing):
            for attempt in ddl_lock.attempts():
                with attempt:
                    refused |= self._portion(some)
        return refused

    def _portions(self, needs: Iterable[Need]) -> Iterator[list[Need]]:
        """Needs of some entities at a time; all that an entity needs is made together."""
        by_entity: dict[str, list[Need]] = {}
        for need in needs:
            by_entity.setdefault(self._known.of(need), []).append(need)
        some = list[Need]()
        entities = 0
        for each in by_entity.values():
            if some and (entities == AT_ONCE or len(some) + len(each) > COLUMNS_AT_ONCE):
                yield some
                some, entities = [], 0
            some, entities = some + each, entities + 1
        if some:
            yield some

    def _portion(self, needs: list[Need]) -> Refused:
        """One attempt: what is new, and then, in a transaction of its own, what is to be widened.

        A view is made anew around a column that is widened, from what is known: so what is new is known by then.
        """
        try:
            with self._connection.transaction():
                missing = self._missing(needs)
                made, refused = self._add([need for need in missing if self._known.column(need) is None])
            self._lately = (self._lately or 0) + made
            if any(self._known.column(need) is not None for need in missing):
                with self._connection.transaction():
                    missing = self._missing(needs)
                    refused |= self._widen([need for need in missing if self._known.column(need) is not None])
        except psycopg.Error:
            self._names.forget()
            raise
        return refused

    def _missing(self, needs: list[Need]) -> list[Need]:
        """What there is not yet, in the open transaction: nobody else plans meanwhile, and what others did is seen."""
        ddl_lock.take(self._connection)
        self._known.look(self._connection, {self._known.of(need) for need in needs})
        missing, _ = self.sorted_out(needs)
        return missing

    def _add(self, new: list[Need]) -> tuple[int, Refused]:
        """Make columns; how many came about."""
        inside = self._in_overflow(new)
        new = [need for need in new if (self._known.of(need), need.key) not in inside]
        if self._lately is None:  # counted once: there may be many
            self._lately = _made_lately(self._connection, self._mapping.connector)
        new, refused = column_limits.within(self._mapping, self._known.entities, new, self._lately)
        if new:
            build.make_schema(self._connection, self._mapping.schema)
            build.check_types(self._connection, self._mapping, new)
        planned = plan(self._mapping, self._known.entities, new, self._names)
        build.make(self._connection, self._mapping, planned)
        return sum(column.key != OVERFLOW for each in planned for column in each.columns), refused | inside

    def _in_overflow(self, needs: list[Need]) -> Refused:
        """Keys that have cells in the overflow stay there: a key's cells are not to be in two places."""
        refused: Refused = {}
        for name in {self._known.of(need) for need in needs}:
            entity = self._known.entities.get(name, _NOTHING)
            if entity.overflow is not None:
                keys = {need.key for need in needs if self._known.of(need) == name}
                part = entity.parts[entity.overflow.part]
                found = overflow_keys.members(self._connection, part, entity.overflow, keys)
                refused |= {(name, key): (IN_OVERFLOW, "its readings are in the overflow") for key in found}
        return refused

    def _widen(self, needs: list[Need]) -> Refused:
        """Widen columns, entity by entity: where something of somebody's depends on one, its readings are refused."""
        found, refused = widenings(self._mapping, self._known.entities, needs)
        if found:
            ddl_lock.stop_the_others(self._connection)
        for name in sorted({each.entity.identity for each in found}):
            mine = [each for each in found if each.entity.identity == name]
            try:
                with self._connection.transaction():
                    retype(self._connection, self._mapping, mine)
            except DEPENDED_ON as error:
                why = (
                    f"{error.diag.message_detail or error.diag.message_primary}. Once that shows other columns or none,"
                    f" `widebeam quarantine retry {self._mapping.connector} --widen`"
                )
                for each in mine:
                    refused[name, each.before.key] = not_widened(each.entity, each.before, each.after.type, why)
                    each.entity.add(each.before)
        return refused


_NOTHING: Final = Entity("", "")
_SIZE: Final = """
SELECT coalesce(sum(pg_total_relation_size(each.oid)), 0)::bigint
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
CROSS JOIN LATERAL (SELECT c.oid UNION SELECT relid FROM pg_partition_tree(c.oid)) AS each
WHERE nspname = %s AND relname = %s
"""


def _made_lately(connection: Connection, connector: str) -> int:
    row = connection.execute(
        "SELECT count(*) FROM widebeam.columns WHERE connector = %s AND created_at > now() - interval '1 hour'",
        [connector],
    ).fetchone()
    return 0 if row is None else int(row[0])
