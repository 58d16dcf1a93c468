"""What somebody gave a wide view, kept where the view has to be made anew: owner, options, rights, comments."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as Dict
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg import sql

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"
Name: TypeAlias = "tuple[str, str]"
"""A view's schema and name."""


class Right(NamedTuple):
    """A right on a view, or on one `column` of it. Without a role it is everybody's."""

    privilege: str
    role: str | None
    grantable: bool
    column: str | None


@dataclass(frozen=True, slots=True)
class Kept:
    """A view as it was. `comments` and `defaults` by column, None for the view's own; `definitions` are statements
    that make its triggers and rules."""

    name: Name
    owner: str
    options: tuple[str, ...]
    rights: tuple[Right, ...]
    comments: tuple[tuple[str | None, str], ...]
    defaults: tuple[tuple[str, str], ...]
    definitions: tuple[str, ...]

    def restore(self, connection: Connection, names: Dict[str, str]) -> None:
        """Give it all to the view, which was made anew. `names` has the new names of columns that have another one."""
        view = sql.Identifier(*self.name)
        statements: list[sql.Composed | sql.SQL] = []
        if self.options:
            statements.append(sql.SQL("ALTER VIEW {} SET ({})").format(view, with_options(self.options)))
        for column, expression in self.defaults:
            form = sql.SQL("ALTER VIEW {} ALTER COLUMN {} SET DEFAULT {}")
            statements.append(form.format(view, _column(column, names), sql.SQL(expression)))
        for of, comment in self.comments:
            what = sql.SQL("VIEW {}").format(view)
            if of is not None:
                what = sql.SQL("COLUMN {}.{}").format(view, _column(of, names))
            statements.append(sql.SQL("COMMENT ON {} IS {}").format(what, sql.Literal(comment)))
        statements += [sql.SQL(each) for each in self.definitions]
        statements.append(sql.SQL("ALTER VIEW {} OWNER TO {}").format(view, sql.Identifier(self.owner)))
        for (grantee,) in connection.execute(_GRANTEES, self.name).fetchall():  # by default privileges
            statements.append(sql.SQL("REVOKE ALL ON {} FROM {}").format(view, _role(grantee)))
        statements += [_grant(view, right, names) for right in self.rights]
        for statement in statements:
            connection.execute(statement)


def kept(connection: Connection, name: Name) -> Kept | None:
    """What a view has of somebody's; None if there is no such view."""
    row = connection.execute(_VIEW, name).fetchone()
    if row is None:
        return None
    oid, owner, options = row
    return Kept(
        name,
        owner,
        tuple(options or ()),
        tuple(Right(*each) for each in connection.execute(_RIGHTS, {"view": oid})),
        tuple(connection.execute(_COMMENTS, [oid]).fetchall()),
        tuple(connection.execute(_DEFAULTS, [oid]).fetchall()),
        tuple(text for (text,) in connection.execute(_DEFINITIONS, {"view": oid})),
    )


def options(connection: Connection, schema: str, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The options of those of these views that have some: CREATE OR REPLACE VIEW would take them away."""
    found = connection.execute(_OPTIONS, [schema, list(names)])
    return {name: tuple(some) for name, some in found}


def with_options(some: Iterable[str]) -> sql.Composed:
    """Options as the catalog has them (`name=value`), as a list for SQL."""
    pairs = [each.partition("=") for each in some]
    listed = (sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value)) for name, _, value in pairs)
    return sql.SQL(", ").join(listed)


def _column(name: str, names: Dict[str, str]) -> sql.Identifier:
    return sql.Identifier(names.get(name, name))


def _role(name: str | None) -> sql.Composable:
    return sql.SQL("PUBLIC") if name is None else sql.Identifier(name)


def _grant(view: sql.Identifier, right: Right, names: Dict[str, str]) -> sql.Composed:
    privilege: sql.Composable = sql.SQL(right.privilege)
    if right.column is not None:
        privilege = sql.SQL("{} ({})").format(privilege, _column(right.column, names))
    end = sql.SQL(" WITH GRANT OPTION" if right.grantable else "")
    return sql.SQL("GRANT {} ON {} TO {}{}").format(privilege, view, _role(right.role), end)


_VIEW: Final = """
SELECT oid, pg_get_userbyid(relowner)::text, reloptions FROM pg_class
WHERE relnamespace = to_regnamespace(quote_ident(%s)) AND relname = %s AND relkind = 'v'
"""
_OPTIONS: Final = """
SELECT relname::text, reloptions FROM pg_class
WHERE relnamespace = to_regnamespace(quote_ident(%s)) AND relname = ANY(%s) AND relkind = 'v'
AND reloptions IS NOT NULL
"""
_RIGHTS: Final = """
SELECT held.privilege_type, role.rolname::text, held.is_grantable, held.name FROM (
    SELECT acl.*, NULL::text AS name, 0 AS attnum, relowner FROM pg_class, aclexplode(relacl) AS acl
    WHERE oid = %(view)s
    UNION ALL
    SELECT acl.*, attname::text, attnum, relowner
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid, aclexplode(attacl) AS acl
    WHERE pg_class.oid = %(view)s AND attnum > 0
) AS held LEFT JOIN pg_roles AS role ON role.oid = held.grantee
WHERE held.grantee <> held.relowner AND (held.grantee = 0 OR role.oid IS NOT NULL) ORDER BY held.attnum, 2, 1
"""
_GRANTEES: Final = """
SELECT DISTINCT role.rolname::text FROM pg_class, aclexplode(relacl) AS acl
LEFT JOIN pg_roles AS role ON role.oid = acl.grantee
WHERE relnamespace = to_regnamespace(quote_ident(%s)) AND relname = %s AND acl.grantee <> relowner
"""
_COMMENTS: Final = """
SELECT attname::text, description FROM pg_description
LEFT JOIN pg_attribute ON attrelid = objoid AND attnum = objsubid AND objsubid > 0
WHERE objoid = %s AND classoid = 'pg_class'::regclass
"""
_DEFAULTS: Final = """
SELECT attname::text, pg_get_expr(adbin, adrelid) FROM pg_attrdef
JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum WHERE adrelid = %s
"""
_DEFINITIONS: Final = """
SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = %(view)s AND NOT tgisinternal
UNION ALL SELECT pg_get_ruledef(oid) FROM pg_rewrite WHERE ev_class = %(view)s AND rulename <> '_RETURN'
"""
