"""A wide table's slot in a staging table: the rows there that have its number."""

from __future__ import annotations

from typing import NamedTuple

from psycopg import sql

from sink.merge.stage import Stage


class StagingSlot(NamedTuple):
    """The rows of `stage` with this number are of one wide table."""

    stage: Stage
    number: int

    def mine(self, *alias: str) -> sql.Composed:
        """The test for the slot's rows."""
        return sql.SQL("{} = {}").format(sql.Identifier(*alias, self.stage.part), sql.Literal(self.number))

    def here(self, alias: str) -> sql.Composed:
        """The rows of the wide table, which is called `wide`, that the slot's rows are for. These are called `alias`.

        In a partitioned one between the first and the last of their times: the planner expects few rows of such a
        range, goes to them by the index, and does not read every partition for a handful of rows.
        """
        mapping = self.stage.mapping
        same = [
            sql.SQL("{} = {}").format(sql.Identifier("wide", column), sql.Identifier(alias, column))
            for column in mapping.key_columns
        ]
        if mapping.partition_by is not None:
            time = next(iter(mapping.rule.time_types))
            ends = "{wide} BETWEEN (SELECT min({time}) FROM {rows}) AND (SELECT max({time}) FROM {rows})"
            rows = sql.SQL("{} WHERE {}").format(self.stage.table, self.mine())
            names = {"wide": sql.Identifier("wide", time), "time": sql.Identifier(time)}
            same.append(sql.SQL(ends).format(rows=rows, **names))
        return sql.SQL(" AND ").join([self.mine(alias), *same])

    def empty(self) -> None:
        """Take the rows out, in the transaction in which they came."""
        self.stage.connection.execute(sql.SQL("DELETE FROM {} WHERE {}").format(self.stage.table, self.mine()))
