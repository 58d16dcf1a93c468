"""A halt that ends a verb is written down in the target, where `status` and the next run find it."""

from __future__ import annotations

import logging
from typing import Final

import psycopg

from cdc.halt import Halt
from widebeam.config.connector import Connector
from widebeam.state import halts

_LOG: Final = logging.getLogger(__name__)


def record_halt(connector: Connector, halt: Halt) -> None:
    """Write a halt down, with the connector's name in its remedy; that it cannot be is no reason to hide it."""
    halt.name(connector.name)
    try:
        halts.record(connector.options.target.conninfo(), connector.name, halt)
    except psycopg.Error as error:
        _LOG.warning("the halt could not be written down in the target: %s", error)
