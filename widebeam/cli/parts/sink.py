"""`widebeam sink`: from the log into the wide tables."""

from __future__ import annotations

from widebeam.cli.parts.awaited import Wait
from widebeam.cli.parts.part import ConnectorName, run_part


def sink(connector: ConnectorName, wait: Wait = False) -> None:
    """Apply changes from Kafka to the wide tables. Any number of them share the partitions.

    Example: widebeam sink ships
    """
    from widebeam.run.parts import run_sink  # noqa: PLC0415

    run_part("sink", connector, run_sink, wait=wait)
