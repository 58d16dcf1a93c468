"""Roles that may do what a connector needs and no more, as SQL for whoever may make roles: roles.sql, filled in."""

from __future__ import annotations

import re
from importlib import resources
from typing import Final, Literal

from psycopg import sql

from widebeam.config.connector import Connector

Side = Literal["source", "target"]

_PREFIX: Final = re.compile(r"[a-z_][a-z0-9_]{0,40}")
"""Role names stand inside of DO blocks, too, so that only plain ones will do."""


class BadPrefix(ValueError):
    """The roles cannot be called that."""

    def __init__(self, prefix: str) -> None:
        super().__init__(f"--prefix {prefix!r}: expected lower-case letters, digits and underscores, 41 at most")


def script(connector: Connector, side: Side, prefix: str = "widebeam") -> str:
    """The statements for one of the databases; the roles are named `prefix`_source, _target, _reader and _operator."""
    if _PREFIX.fullmatch(prefix) is None:
        raise BadPrefix(prefix)
    text = resources.files("widebeam.setup").joinpath("roles.sql").read_text(encoding="utf-8")
    parts = dict(part.split("\n", 1) for part in text.split("-- part: ")[1:])
    wide = connector.options.target.wide_schema
    roles = {role: sql.Identifier(f"{prefix}_{role}") for role in ("source", "target", "reader", "operator")}
    return (
        sql.SQL(parts[side].strip() + "\n")
        .format(
            **roles,
            reader_name=sql.SQL(f"{prefix}_reader"),
            target_name=sql.SQL(f"{prefix}_target"),
            wide=sql.Identifier(wide),
            wide_text=sql.Literal(sql.Identifier(wide).as_string()),
            reading=_reading(connector, roles["source"], roles["operator"]),
            publishing=_publishing(connector),
        )
        .as_string()
    )


def _tables(connector: Connector) -> list[sql.Identifier]:
    """The narrow tables that are named whole."""
    return [sql.Identifier(*each) for each in connector.patterns if "%" not in each.name]


def _reading(connector: Connector, *roles: sql.Identifier) -> sql.Composable:
    """USAGE and SELECT on what is mapped; for tables that join by themselves, a line that says what they need."""
    to = sql.SQL(", ").join(roles)
    schemas = sorted({each.schema for each in connector.patterns})
    lines: list[sql.Composable] = [
        sql.SQL("GRANT USAGE ON SCHEMA {} TO {};").format(sql.Identifier(each), to) for each in schemas
    ]
    lines += [sql.SQL("GRANT SELECT ON TABLE {} TO {};").format(each, to) for each in _tables(connector)]
    if connector.growing:
        lines.append(sql.SQL("-- Tables that join later: GRANT SELECT on each, or default privileges of their owner,"))
        lines.append(sql.SQL("-- and a source role that owns the publication and is a member of the tables' owner."))
    return sql.SQL("\n").join(lines)


def _publishing(connector: Connector) -> sql.Composable:
    tables = _tables(connector)
    if not tables:
        return sql.SQL("-- (There is no table that is named whole: make it by the statement of `widebeam check`.)")
    return sql.SQL(_PUBLICATION).format(
        name=sql.Identifier(connector.publication),
        name_text=sql.Literal(connector.publication),
        names=sql.SQL(", ").join(sql.Literal(table.as_string()) for table in tables),
        tables=sql.SQL(", ").join(tables),
    )


_PUBLICATION: Final = """DO $publication$ BEGIN
    IF EXISTS (
        SELECT FROM unnest(ARRAY[{names}]) AS named
        LEFT JOIN LATERAL pg_partition_tree(named::regclass) AS tree ON true
        JOIN pg_class AS c ON c.oid = coalesce(tree.relid, named::regclass)
        WHERE c.relkind = 'r' AND (c.relreplident = 'n' OR c.relreplident = 'd' AND NOT EXISTS (
            SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary)
            OR c.relreplident = 'f' AND current_setting('server_version_num')::int >= 180000 AND EXISTS (
            SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attgenerated <> '' AND NOT a.attisdropped))
    ) THEN
        RAISE WARNING 'no publication is made: a replica identity would make updates fail (see `widebeam check`)';
    ELSIF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = {name_text}) THEN
        CREATE PUBLICATION {name} FOR TABLE {tables} WITH (publish_via_partition_root = true);
    END IF;
END $publication$;"""
