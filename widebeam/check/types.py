"""The precondition that the target knows the types of the readings: enums, domains and those of extensions are made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql

from cdc.halt import Halt
from cdc.source.session import connect_to_read
from sink.mapping.kinds import loose
from widebeam.config import catalog
from widebeam.config.connector import Connector
from widebeam.finding import Finding

Session: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_SECONDS: Final = 10


def types(session: Session, connector: Connector) -> Iterator[Finding]:
    """The types of value columns, and of what becomes a wide table's key, are there in the target."""
    try:
        with connect_to_read(connector.options.source.conninfo(), connect_timeout=_SECONDS) as source:
            for name, column in _wanted(source, connector).items():
                if session.execute("SELECT to_regtype(%s) IS NULL", [name]).fetchone() == (True,):
                    yield Finding(
                        f"the type {name} of {column} in the source is not in this database", "", _made(source, name)
                    )
    except (Halt, psycopg.Error):  # other checks say what cannot be read in the source
        return


def _wanted(source: Session, connector: Connector) -> dict[str, str]:
    """The names of the types that wide tables need, and a column of each."""
    found = dict[str, str]()
    mapping = connector.mapping(catalog.sources(source, connector))
    for rule in mapping.rules:
        for name in rule.table.values:
            found.setdefault(rule.types[name], f"{rule.table.qualified}.{name}")
    for name, kind in mapping.key_types.items():
        found.setdefault(kind, f"{mapping.table.qualified}.{name}")
    return found


def _made(source: Session, name: str) -> str:
    """How a type is made as it is in the source."""
    name = name.removesuffix("[]")  # an array is made with its elements' type
    row = source.execute(_TYPE, [name]).fetchone()
    kind, base, labels, extension, schema, place = row or ("", "", [], None, "public", "public")
    if extension is not None:
        template = "CREATE SCHEMA IF NOT EXISTS {1}; CREATE EXTENSION {0} SCHEMA {1};"
        return sql.SQL(template).format(*map(sql.Identifier, (extension, place))).as_string(source)
    made = sql.SQL("CREATE SCHEMA IF NOT EXISTS {}; ").format(sql.Identifier(schema)).as_string(source)
    if kind == "e":
        listed = sql.SQL(", ").join(map(sql.Literal, labels)).as_string(source)
        return f"{made}CREATE TYPE {name} AS ENUM ({listed});"
    if kind == "d":
        return f"{made}CREATE DOMAIN {name} AS {base};"
    return f"make the type {name} there as it is in the source (pg_dump --schema-only shows how)"


_TYPE: Final = """
SELECT typtype::text, format_type(typbasetype, typtypmod),
    ARRAY(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = t.oid ORDER BY enumsortorder),
    extname::text, n.nspname::text, e.nspname::text
FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace
LEFT JOIN pg_depend d ON d.objid = t.oid AND classid = 'pg_type'::regclass AND deptype = 'e'
LEFT JOIN pg_extension x ON x.oid = refobjid LEFT JOIN pg_namespace e ON e.oid = extnamespace
WHERE t.oid = to_regtype(%s)
"""


def texts_apart(session: Session, connector: Connector) -> Iterator[Finding]:
    """No wide key of a type whose values can be equal though their texts differ, as citext's: rows would meet."""
    try:
        with connect_to_read(connector.options.source.conninfo(), connect_timeout=_SECONDS) as source:
            mapping = connector.mapping(catalog.sources(source, connector))
    except (Halt, psycopg.Error):  # other checks say what cannot be read in the source
        return
    for name, kind in mapping.key_types.items():
        if loose(kind):
            choice = "map another column"
            if name in mapping.entity and connector.options.source.time:
                choice = 'layout = "per_entity", where an entity is its text'
            yield Finding(
                f"{name} of {mapping.table.qualified} is of type {kind}, whose values can be equal though they are not"
                " the same text: in the key of a wide table their rows would meet",
                "",
                f"{choice}, in {connector.file}",
            )


CHECKS: Final = (types, texts_apart)
