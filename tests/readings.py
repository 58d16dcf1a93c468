"""The smallest narrow table and a connector over it, and the sections of which the files of others are made.

In all of them `{dsn}` stands for the connection string of both sides.
"""

from __future__ import annotations

from typing import Final

SOURCE: Final = """
[source]
dsn = "{dsn}"
table = "tenant.readings"
entity = ["ship"]
time = "at"
key = "channel"
"""
PUBLIC_SOURCE: Final = SOURCE.replace("tenant.readings", "public.readings")
KINDS: Final = """
[source.value]
discriminator = "kind"
columns = {{ Decimal = "f", String = "s" }}
"""
"""The column `kind` says which of two has the reading."""
TARGET: Final = """
[target]
dsn = "{dsn}"
"""
FILE: Final = f"""
{SOURCE}
[source.value]
columns = ["f"]
{TARGET}
"""

NARROW: Final = """
CREATE SCHEMA tenant;
CREATE TABLE tenant.readings (ship text, channel text, at timestamp, f float8, PRIMARY KEY (ship, channel, at));
"""
"""The table, empty."""
