"""`widebeam quarantine`: what could not be placed, and what becomes of it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.table import Table

from widebeam.cli.command_line import ConnectorName
from widebeam.counted import counted
from widebeam.terminal import Console, confirm, say, say_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from widebeam.quarantine.entry import Entry
    from widebeam.quarantine.quarantined_row import Retried
    from widebeam.quarantine.store import Heap, Session

quarantine = typer.Typer(
    name="quarantine",
    help="Readings that could not be placed: list, show, retry or discard them.",
    no_args_is_help=True,
)

Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="Numbers of entries; none: all.")]
Reasons = Annotated[list[str] | None, typer.Option("--reason", "-r", help="Only of this reason. Can be repeated.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


@quarantine.command("list")
def list_entries(
    connector: ConnectorName,
    reason: Reasons = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="How many entries to show.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List what lies in quarantine: how many of each reason, and the oldest of them.

    Example: widebeam quarantine list ships --reason type_conflict
    """
    from widebeam.quarantine import store  # noqa: PLC0415

    with _target(connector) as (name, session):
        choice = store.Choice(name, (), reason or ())
        heaps, found = store.heaps(session, choice), store.entries(session, choice, limit)
    if as_json:
        reasons = {heap.reason: heap.entries for heap in heaps}
        say_json({"reasons": reasons, "entries": [entry.as_dict() for entry in found]})
    else:
        _show_list(heaps, found)


@quarantine.command()
def show(
    connector: ConnectorName,
    number: Annotated[int, typer.Argument(metavar="ID", help="The entry's number.")],
    as_json: AsJson = False,
) -> None:
    """Show one entry whole: where it comes from, why it is here, and its raw row.

    Exit code 1 if there is no such entry.

    Example: widebeam quarantine show ships 17
    """
    from widebeam.quarantine import store  # noqa: PLC0415

    with _target(connector) as (name, session):
        found = store.entries(session, store.Choice(name, [number]))
    if not found:
        say(f"There is no entry {number} in the quarantine of {name}.", err=True)
        raise typer.Exit(1)
    fields = found[0].as_dict()
    if as_json:
        say_json(fields)
        return
    for label, value in fields.items():
        say(f"{label + ':':<10}{value if isinstance(value, str | int | None) else orjson.dumps(value).decode()}")


@quarantine.command()
def retry(
    connector: ConnectorName,
    ids: Ids = None,
    reason: Reasons = None,
    patience: Annotated[float, typer.Option(min=0, max=50, help="Seconds to wait for writers.")] = 10.0,
    widen: Annotated[bool, typer.Option("--widen", help="Widen columns of large tables; readers wait.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give readings their place, after the mapping was mended: each cell gets what the source has now.

    Works beside a running connector, which has to be started again first if its file was changed. Exit code 1 if any
    entry stays in quarantine.

    Example: widebeam quarantine retry ships --reason unknown_discriminator
    """
    from cdc.source.session import connect  # noqa: PLC0415
    from sink.lookup import Lookup  # noqa: PLC0415
    from sink.target import open_target  # noqa: PLC0415
    from widebeam.config.config import load  # noqa: PLC0415
    from widebeam.quarantine.retry import Retry  # noqa: PLC0415
    from widebeam.quarantine.store import Choice, must_have  # noqa: PLC0415
    from widebeam.setup.prepared import prepared  # noqa: PLC0415

    loaded, label = load(connector), "widebeam-quarantine"
    ready, source_dsn = prepared(loaded), loaded.options.source.conninfo()
    lookup = Lookup(source_dsn, loaded.name, ready.mapping.rule.dictionary)
    with (
        open_target(loaded.options.target.conninfo(), label) as target,
        connect(source_dsn, autocommit=True, application_name=label) as source,
        closing(lookup),
    ):
        choice = Choice(loaded.name, ids or (), reason or ())
        must_have(target, choice)
        done = Retry(source, target, ready.mapping, patience, lookup, widen=widen).run(choice)
    if as_json:
        say_json(done, option=orjson.OPT_NON_STR_KEYS)
    else:
        _show_retried(done)
    raise typer.Exit(1 if done.stayed else 0)


@quarantine.command()
def discard(
    connector: ConnectorName,
    ids: Ids = None,
    reason: Reasons = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Give readings up. What they were is kept in widebeam.audit.

    Example: widebeam quarantine discard ships 17 18
    """
    from widebeam.quarantine import store  # noqa: PLC0415

    with _target(connector) as (name, session):
        choice = store.as_of_now(session, store.Choice(name, ids or (), reason or ()))
        store.must_have(session, choice)
        count = sum(heap.entries for heap in store.heaps(session, choice))
        if count and not yes:
            confirm(f"Discard {counted(count, 'entry')} of {name}?")
        say(f"Discarded {counted(store.discard(session, choice), 'entry')} of {name}.")


def _target(connector: str) -> AbstractContextManager[tuple[str, Session]]:
    """The connector's name and a session in its target."""
    from contextlib import contextmanager  # noqa: PLC0415

    from cdc.source.session import connect  # noqa: PLC0415
    from widebeam.config.config import load  # noqa: PLC0415
    from widebeam.state.recorded import NotSetUp  # noqa: PLC0415

    @contextmanager
    def opened() -> Iterator[tuple[str, Session]]:
        loaded = load(connector)
        dsn = loaded.options.target.conninfo()
        with connect(dsn, autocommit=True, application_name="widebeam-quarantine") as session:
            if session.execute("SELECT to_regclass('widebeam.quarantine')").fetchone() == (None,):
                raise NotSetUp(loaded)
            yield loaded.name, session

    return opened()


def _show_list(heaps: list[Heap], found: list[Entry]) -> None:
    console = Console()
    if not heaps:
        console.print("The quarantine is empty.")
        return
    for heap in heaps:
        console.print(f"{heap.entries:,} {heap.reason}, {heap.first:%Y-%m-%d %H:%M} to {heap.last:%H:%M}")
    table = Table(header_style="dim")
    for name in ("id", "at", "reason", "row", "detail"):
        table.add_column(name, overflow="fold")
    for entry in found:
        row = entry.values or entry.origin
        table.add_row(str(entry.id), f"{entry.at:%Y-%m-%d %H:%M:%S}", entry.reason, row, entry.detail)
    console.print(table)
    console.print("`widebeam quarantine show CONNECTOR ID` has the position and the raw row.")


def _show_retried(done: Retried) -> None:
    say(f"{len(done.placed):,} placed, {len(done.gone):,} gone from the source, {done.stayed:,} stay")
    for number, (reason, detail) in list(done.unfit.items())[:20]:
        say(f"  {number}: {reason}: {detail}")
    for number, why in list(done.unread.items())[:20]:
        say(f"  {number}: not one source row of this connector: {why}")
    if done.undecided:
        say(f"  {len(done.undecided):,} have no source row any more, and deletes are ignored: not decided")
