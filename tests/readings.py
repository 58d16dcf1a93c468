"""The smallest narrow table, and a connector over it, for tests to which it matters little what is in it."""

from __future__ import annotations

from typing import Final

FILE: Final = """
[source]
dsn = "{dsn}"
table = "tenant.readings"
entity = ["ship"]
time = "at"
key = "channel"
[source.value]
columns = ["f"]
[target]
dsn = "{dsn}"
"""
"""The connector; `dsn` is the connection string of both sides."""

NARROW: Final = """
CREATE SCHEMA tenant;
CREATE TABLE tenant.readings (ship text, channel text, at timestamp, f float8, PRIMARY KEY (ship, channel, at));
"""
"""The table, empty."""
