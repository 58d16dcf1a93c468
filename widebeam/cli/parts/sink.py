"""`widebeam sink`: from the log into the wide tables."""

from __future__ import annotations

from widebeam.cli.command_line import ConnectorName, Wait


def sink(connector: ConnectorName, wait: Wait = False) -> None:
    """Apply changes from Kafka to the wide tables. Any number of them share the partitions.

    Example: widebeam sink ships
    """
    from widebeam.cli.parts.part import run_part  # noqa: PLC0415  only the verbs that need it load it
    from widebeam.run.parts import run_sink  # noqa: PLC0415

    run_part("sink", connector, run_sink, wait=wait)
