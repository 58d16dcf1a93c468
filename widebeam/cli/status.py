"""`widebeam status`: how a connector is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Protocol

import typer
from rich.live import Live

from widebeam.cli.command_line import ConnectorName
from widebeam.terminal import Console, say_json

if TYPE_CHECKING:
    from widebeam.status.status import Status


def status(
    connector: ConnectorName,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a look, on stdout.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again and again, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
) -> None:
    """Show backfill, lag, latency, partitions, slot, quarantine and, if it halted, why and the way on.

    Exit code 0 only if it is well and somebody runs it; 1 if nobody does, if it does not get on, is not set up or out
    of reach; 3 if it halted. The first lines say what is the matter and the command to give.

    Example: widebeam status ships -w
    """
    from widebeam.config.config import load  # noqa: PLC0415
    from widebeam.status.viewer import Viewer  # noqa: PLC0415

    viewer = Viewer(load(connector))
    show: _Show = _Json() if as_json else _Page(live=watch)
    try:
        seen = viewer.read()
        show.show(seen)
        while watch:
            time.sleep(every)
            seen = viewer.read()
            show.show(seen)
    except KeyboardInterrupt:
        pass
    finally:
        show.close()
        viewer.close()
    raise typer.Exit(_code(seen))


def _code(seen: Status) -> int:
    if seen.state == "halted":
        return 3
    return 1 if seen.cause or seen.problems else 0


class _Show(Protocol):
    def show(self, seen: Status) -> None: ...

    def close(self) -> None: ...


class _Json:
    """One object a line."""

    def show(self, seen: Status) -> None:
        say_json(seen.as_json())

    def close(self) -> None:
        pass


class _Page:
    """A page, that stays in its place when it is live."""

    def __init__(self, *, live: bool) -> None:
        self._console = Console()
        self._live = Live(console=self._console, auto_refresh=False) if live and self._console.is_terminal else None
        if self._live is not None:
            self._live.start()

    def show(self, seen: Status) -> None:
        from widebeam.status.view import page  # noqa: PLC0415

        if self._live is None:
            self._console.print(page(seen))
        else:
            self._live.update(page(seen), refresh=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
