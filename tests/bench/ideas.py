"""Ways that were not taken, beside the one that was: what each costs, on the same rows and in one run.

python -m tests.bench.ideas [--only NAME ...] [--rows N] [--json FILE] [--keep]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple

import psycopg

from cdc.source.session import connect
from tests.bench import binary, page, wire
from tests.bench.cost import costing
from tests.bench.process import Line
from tests.bench.reference import FLEET
from tests.bench.report import arguments, reporting
from tests.bench.stack import Stack, stack

_WIDE: Final = ", ".join(
    f"{name} {('int8', 'int8', 'text', 'bool', *['float8'] * 16)[n % 20]}" for n, name in enumerate(FLEET.channel_names)
)
_SMALL: Final = 8
"""Wide rows in a small batch."""
_FEW: Final = 2
"""Wide rows in a smaller one."""


class Wide:
    """A wide table of 250 columns, its staging table, and the statements that merge, in a session of its own."""

    def __init__(self, place: Stack, *, fillfactor: int = 50, emptied: bool = False) -> None:
        """`emptied`: each commit empties the staging table, as it does ours."""
        self.session = connect(place.database(place.name("idea"), ""), autocommit=True)
        self.run(
            f"CREATE TABLE public.wide (at timestamp PRIMARY KEY, lsn pg_lsn, {_WIDE}) WITH (fillfactor = {fillfactor})"
        )
        self.run(
            f"CREATE TEMPORARY TABLE stage (at timestamp, lsn pg_lsn, {_WIDE}) WITH (toast_tuple_target = 8160)"
            f" ON COMMIT {'DELETE' if emptied else 'PRESERVE'} ROWS"
        )

    def run(self, statement: str, *, prepare: bool | None = None) -> None:
        self.session.execute(statement.encode(), prepare=prepare)

    def copy(self, blocks: list[bytes], into: str = "pg_temp.stage", how: str = "") -> None:
        with self.session.cursor().copy(f"COPY {into} FROM STDIN {how}".encode()) as target:
            for block in blocks:
                target.write(block)

    @staticmethod
    def merge(form: str) -> str:
        """Out of the staging table; `form` says what a cell that is there becomes."""
        cells = ", ".join(form.format(name) for name in ["lsn", *FLEET.channel_names])
        return f"INSERT INTO public.wide SELECT * FROM pg_temp.stage ORDER BY at ON CONFLICT (at) DO UPDATE SET {cells}"

    def __enter__(self) -> Wide:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()


KEEPING: Final = "{0} = COALESCE(EXCLUDED.{0}, wide.{0})"
SETTING: Final = "{0} = EXCLUDED.{0}"


def tuples(place: Stack, rows: int) -> dict[str, Line]:
    """Rows on the wire as text, or in binary; the latter's numbers then have to become text again."""
    return wire.tuples(place, rows)


def catch_up(place: Stack, rows: int) -> dict[str, Line]:
    """A long way behind: the replication stream, or COPY out of the slot's peek function."""
    return wire.catch_up(place, rows)


def copy_form(place: Stack, rows: int) -> dict[str, Line]:
    """Cells into the staging table as text, which is how they come, or in binary."""
    found: dict[str, Line] = {}
    moments = max(1, rows // FLEET.channels)
    binary.as_text(moments)  # the values themselves are made once, for both
    for what, encode, how in (("text", binary.as_text, ""), ("binary", binary.as_binary, "(FORMAT binary)")):
        with Wide(place) as wide, costing(wide.session) as cost:
            wide.copy(encode(moments), how=how)
        found[what] = cost.each(moments * FLEET.channels)
    return found


def coalesce(place: Stack, rows: int) -> dict[str, Line]:
    """A merge that keeps what a batch does not set, or one for batches that set all: cells that are there already."""
    found: dict[str, Line] = {}
    moments = max(1, rows // FLEET.channels)
    for what, form in (("COALESCE", KEEPING), ("EXCLUDED alone", SETTING)):
        with Wide(place) as wide:
            wide.copy(binary.as_text(moments))
            wide.run(Wide.merge(SETTING))
            with costing(wide.session) as cost:
                wide.run(Wide.merge(form))
        found[what] = cost.each(moments * FLEET.channels)
    return found


def plans(place: Stack, rows: int) -> dict[str, Line]:
    """A small batch's merge with a plan that is kept, or planned anew each time."""
    found: dict[str, Line] = {}
    times = max(1, rows // (FLEET.channels * _SMALL * 4))
    merge = Wide.merge(KEEPING)
    for what, prepare in (("plan kept", True), ("planned anew", False)):
        with Wide(place) as wide:
            wide.copy(binary.as_text(_SMALL))
            with costing(wide.session) as cost:
                for _ in range(times):
                    wide.run(merge, prepare=prepare)
        found[what] = cost.each(times)
    return found


def staging(place: Stack, rows: int) -> dict[str, Line]:
    """A small transaction, where the session has a staging table for each of 64 wide tables, or one for all."""
    found: dict[str, Line] = {}
    times = max(1, rows // (FLEET.channels * _SMALL * 10))
    for what, count in (("one staging table", 1), ("64 staging tables", 64)):
        with Wide(place) as wide:
            for n in range(count):
                wide.run(f"CREATE TEMPORARY TABLE stage_{n} (at timestamp, lsn pg_lsn, {_WIDE}) ON COMMIT DELETE ROWS")
            with costing(wide.session) as cost:
                for _ in range(times):
                    with wide.session.transaction():
                        wide.copy(binary.as_text(_SMALL), into="pg_temp.stage_0")
        found[what] = cost.each(times)
    return found


def few(place: Stack, rows: int) -> dict[str, Line]:
    """A transaction of two wide rows: bound to a statement's parameters, or staged and merged."""
    times = max(1, rows // (FLEET.channels * _FEW * 10))
    names = ["at", "lsn", *FLEET.channel_names]
    insert = (
        f"INSERT INTO public.wide VALUES ({', '.join(f'${n + 1}' for n in range(len(names)))})"
        f" ON CONFLICT (at) DO UPDATE SET {', '.join(KEEPING.format(name) for name in names[1:])}"
    )
    with Wide(place) as wide, costing(wide.session) as bound:
        cursor = psycopg.RawCursor(wide.session)
        for _ in range(times):
            with wide.session.transaction():
                for tick in range(_FEW):
                    cursor.execute(insert.encode(), binary.row(tick), prepare=True)
    merge, blocks = Wide.merge(KEEPING), binary.as_text(_FEW)
    with Wide(place, emptied=True) as wide, costing(wide.session) as staged:
        for _ in range(times):
            with wide.session.transaction():
                wide.copy(blocks)
                wide.run(merge, prepare=True)
    return {"bound": bound.each(times), "staged and merged": staged.each(times)}


def straight(place: Stack, rows: int) -> dict[str, Line]:
    """Rows that are not there yet: through staging and a merge, or by COPY straight into the wide table."""
    moments = max(1, rows // FLEET.channels)
    blocks = binary.as_text(moments)
    with Wide(place) as wide, costing(wide.session) as merged:
        wide.copy(blocks)
        wide.run(Wide.merge(KEEPING))
    with Wide(place) as wide, costing(wide.session) as copied:
        wide.copy(blocks, into="public.wide")
    cells = moments * FLEET.channels
    return {"staged and merged": merged.each(cells), "straight": copied.each(cells)}


def fillfactor(place: Stack, rows: int) -> dict[str, Line]:
    """Rows whose cells come in ten batches, in pages that are half full or full at first."""
    found: dict[str, Line] = {}
    moments = max(1, rows // FLEET.channels)
    names = FLEET.channel_names
    for factor in (50, 100):
        with Wide(place, fillfactor=factor) as wide:
            wide.copy(binary.as_text(moments))
            with costing(wide.session) as cost:
                for n in range(10):
                    some = names[n::10]
                    cells = ", ".join(KEEPING.format(name) for name in some)
                    listed = ", ".join(["at", *some])
                    wide.run(f"INSERT INTO public.wide ({listed}) SELECT {listed} FROM pg_temp.stage ORDER BY at"
                             f" ON CONFLICT (at) DO UPDATE SET {cells}")  # fmt: skip
            [(size,)] = wide.session.execute("SELECT pg_relation_size('public.wide')").fetchall()
        found[f"fillfactor {factor}"] = cost.each(moments * len(names)) | {"heap_mb": round(size / 2**20, 1)}
    return found


class Idea(NamedTuple):
    """What is compared, what is counted, which of the ways is ours, and why."""

    compare: Callable[[Stack, int], dict[str, Line]]
    each: str
    ours: str
    why: str


IDEAS: Final[Mapping[str, Idea]] = {
    "tuples": Idea(
        tuples, "narrow row", "text", "In binary, each type needs a printer of ours that is the server's to the byte."
    ),
    "catch_up": Idea(
        catch_up,
        "narrow row",
        "replication stream",
        "A call decodes from the slot's restart position once more, which moves every 15 seconds at best, says nothing"
        " before it is done, and keeps all that it says in temporary files of the source.",
    ),
    "copy_form": Idea(copy_form, "cell", "text", "What the server saves costs us more."),
    "few": Idea(few, "transaction", "bound", "For few rows alone: from some 2,000 cells on, staging costs less."),
    "staging": Idea(staging, "transaction", "one staging table", "A commit empties all staging tables of the session."),
    "plans": Idea(plans, "merge", "plan kept", "So a merge names all columns, whatever its batch sets."),
    "coalesce": Idea(coalesce, "cell", "COALESCE", "What it saves is less than a second plan for each table costs."),
    "straight": Idea(
        straight, "cell", "staged and merged", "The stream may bring the same row at any moment, and a COPY fails then."
    ),
    "fillfactor": Idea(fillfactor, "cell", "fillfactor 50", "Cells of a row come at different times."),
}


def told(idea: Idea, place: Stack, rows: int) -> Line:
    """A line of the report."""
    says = " ".join((idea.compare.__doc__ or "").split())
    return {"says": says, "why": idea.why, "each": idea.each, "ours": idea.ours, "ways": idea.compare(place, rows)}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", nargs="+", choices=list(IDEAS), default=list(IDEAS))
    parser.add_argument("--rows", type=int, default=1_000_000, help="narrow rows, or cells, in each way")
    given = parser.parse_args()
    with reporting(given, "ideas") as report, stack() as place:
        for name in given.only:
            report.stage(partial(told, IDEAS[name], place, given.rows), idea=name)
    if given.keep:
        page.write()
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
