"""`widebeam stream`: capture and sinks in one process, for the direct transport. Started by `run`."""

from __future__ import annotations

from widebeam.cli.command_line import ConnectorName


def stream(connector: ConnectorName) -> None:
    """Capture and apply in one process, without Kafka."""
    from widebeam.cli.parts.part import run_part  # noqa: PLC0415  only the verbs that need it load it
    from widebeam.run.parts import run_stream  # noqa: PLC0415

    run_part("stream", connector, run_stream)
