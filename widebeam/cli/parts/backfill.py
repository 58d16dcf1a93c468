"""`widebeam backfill`: the history, chunk by chunk."""

from __future__ import annotations

from widebeam.cli.parts.awaited import Wait
from widebeam.cli.parts.part import ConnectorName, run_part


def backfill(connector: ConnectorName, wait: Wait = False) -> None:
    """Fill the wide tables with the history. Any number of workers; each ends with 0 when nothing is left to do.

    Example: widebeam backfill ships
    """
    from widebeam.run.parts import run_backfill  # noqa: PLC0415

    run_part("backfill", connector, run_backfill, wait=wait)
