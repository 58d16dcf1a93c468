"""`widebeam drop`: everything of a connector goes, but the narrow table."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from widebeam.cli.command_line import ConnectorName
from widebeam.terminal import confirm, say


def drop(
    connector: ConnectorName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    keep_audit: Annotated[
        bool, typer.Option("--keep-audit", help="Keep widebeam.audit, even when the last connector goes.")
    ] = False,
    named: Annotated[
        str | None,
        typer.Option("--named", metavar="NAME", help="Another connector of this file's servers, see `list`."),
    ] = None,
    source_gone: Annotated[
        bool, typer.Option("--source-gone", help="The source is gone for good: ask nothing of it.")
    ] = False,
) -> None:
    """Remove a connector's wide tables, state, slot, publication and topic. The narrow table is never touched.

    Stop the connector first. If it is interrupted, run it again. With the last connector goes the schema widebeam
    with its audit log, unless it is kept.

    Example: widebeam drop ships
    """
    from widebeam.config.config import load  # noqa: PLC0415
    from widebeam.setup import drop as module  # noqa: PLC0415

    loaded = load(connector)
    loaded = loaded if named is None else replace(loaded, name=named)
    place = loaded.options.target.shown
    if not module.there_is(loaded):
        say(f"There is no connector {loaded.name} in {place}: nothing to drop.")
        return
    if not yes:
        confirm(f"Drop {loaded.name} with its wide tables in {place}?")
    done = module.drop(loaded, keep_audit=keep_audit, source_gone=source_gone)
    if done is None:
        say(f"There is no connector {loaded.name} in {place} any more.")
        return
    things = {"slot": "slot", "publication": "publication", "topic": "topic", "group": "consumer group"}
    also = "".join(f", the {shown}" for name, shown in things.items() if getattr(done, name))
    control = ", and the schema widebeam, for it was the last connector" if done.control else ""
    say(f"Dropped {loaded.name}: {done.tables} wide tables{also}{control}.")
    if done.left:
        say("On the source stays, if it ever comes back, what keeps its WAL for ever: " + " ".join(done.left))
