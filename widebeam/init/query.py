"""The query of `[source.dictionary]`, as text for a connector file."""

from __future__ import annotations

from psycopg import sql

from widebeam.init.dictionary import Dictionary, Owner


def query(found: Dictionary) -> str:
    """The id first, then the names that become virtual columns."""
    table = found.candidate.table
    fields = [sql.SQL("d.{}").format(sql.Identifier(each)) for each in (found.candidate.id, found.key)]
    join: sql.Composable = sql.SQL("")
    owner = found.owner
    if owner is not None and found.entity == (owner.name,):
        fields.append(sql.SQL("o.{}").format(sql.Identifier(owner.name)))
        join = _join(owner)
    elif owner is not None:
        fields.append(sql.SQL("d.{}").format(sql.Identifier(owner.column)))
    return (
        sql.SQL("SELECT {} FROM {} d{}{}")
        .format(sql.SQL(", ").join(fields), sql.Identifier(table.schema, table.name), join, _where(found))
        .as_string(None)
    )


def _join(owner: Owner) -> sql.Composable:
    return sql.SQL(" JOIN {} o ON o.{} = d.{}").format(
        sql.Identifier(owner.table.schema, owner.table.name), sql.Identifier(owner.target), sql.Identifier(owner.column)
    )


def _where(found: Dictionary) -> sql.Composable:
    if not found.only:
        return sql.SQL("")
    conditions = (sql.SQL("d.{} = {}").format(sql.Identifier(c), sql.Literal(v)) for c, v in found.only)
    return sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(conditions))
