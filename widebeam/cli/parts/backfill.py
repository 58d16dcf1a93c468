"""`widebeam backfill`: the history, chunk by chunk."""

from __future__ import annotations

from widebeam.cli.command_line import ConnectorName, Wait


def backfill(connector: ConnectorName, wait: Wait = False) -> None:
    """Fill the wide tables with the history. Any number of workers; each ends with 0 when nothing is left to do.

    Example: widebeam backfill ships
    """
    from widebeam.cli.parts.part import run_part  # noqa: PLC0415  only the verbs that need it load it
    from widebeam.run.parts import run_backfill  # noqa: PLC0415

    run_part("backfill", connector, run_backfill, wait=wait)
