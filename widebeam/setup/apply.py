"""Applying a plan: the wide tables are made before the first reading comes."""

from __future__ import annotations

from dataclasses import replace

from cdc.source.session import connect
from sink.mapping.wide import Refused
from sink.wide.registry import Registry
from widebeam.config.connector import Connector
from widebeam.plan.plan import Drawn
from widebeam.setup.prepare import enrol


def apply(connector: Connector, drawn: Drawn) -> Refused:
    """Make what is planned, and write the connector down in its target for that; keys that got no column, and why.

    Makes no slot, publication or topic: `run` does. Doing it twice changes nothing. Raises what `prepare` raises.
    """
    # Whoever applies a plan has seen it: policies for keys that come by themselves do not hold here.
    asked = replace(enrol(connector), unknown_key="add_column", columns_per_hour=10**9)
    with connect(connector.options.target.conninfo(), autocommit=True, application_name="widebeam-plan") as target:
        return Registry(asked).ensure(target, drawn.needs)
