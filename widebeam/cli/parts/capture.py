"""`widebeam capture`: from the replication slot to the log."""

from __future__ import annotations

from widebeam.cli.command_line import ConnectorName, Wait


def capture(connector: ConnectorName, wait: Wait = False) -> None:
    """Capture changes into Kafka. A second one stands by, and takes over when the first one dies.

    Example: widebeam capture ships
    """
    from widebeam.cli.parts.part import run_part  # noqa: PLC0415  only the verbs that need it load it
    from widebeam.run.parts import run_capture  # noqa: PLC0415

    run_part("capture", connector, run_capture, wait=wait)
