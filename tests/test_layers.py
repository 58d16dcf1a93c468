"""No arrow goes back, and the pure parts know neither PostgreSQL's driver nor Kafka's."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
LAYERS = ["cdc", "sink", "snapshot", "widebeam"]
"""From the lowest to the highest: each may import itself and those before it."""

WORDS = {
    "cdc": ["event", "failpoint", "fate", "fault", "halt", "lsn", "patience", "refusal", "bindable", "trouble"],
    "widebeam": ["counted", "finding", "log", "terminal"],
}
"""Modules in a package itself on which its rooms stand. The others there bring the rooms together."""

ROOMS = [
    "cdc words", "cdc.clock", "cdc.source", "cdc.wire", "cdc.record", "cdc.log", "cdc",
    "sink.mapping", "sink.fold", "sink.views", "sink.wide", "sink.merge", "sink.state", "sink",
    "snapshot.chunks", "snapshot.fill", "snapshot",
    "widebeam words", "widebeam.init", "widebeam.config", "widebeam.process", "widebeam.state", "widebeam.status",
    "widebeam.health", "widebeam.verify", "widebeam.plan", "widebeam.check", "widebeam.advice",
    "widebeam.quarantine", "widebeam.replay", "widebeam.setup", "widebeam.gap", "widebeam.run", "widebeam.lab",
    "widebeam.demo", "widebeam.cli", "widebeam",
]  # fmt: skip
"""From the lowest to the highest: a module may import those of its own room and of those before it."""

MOST_FILES = 16
"""In one folder. More of them are no longer seen at a glance."""

DRIVERS = {"psycopg", "psycopg_pool", "confluent_kafka"}

PURE = [
    "cdc.clock.buckets", "cdc.clock.time_text",
    "cdc.event", "cdc.halt", "cdc.log.direct", "cdc.log.transport", "cdc.lsn", "cdc.record.assembler",
    "cdc.record.avro", "cdc.record.change", "cdc.record.column_cache", "cdc.record.envelope",
    "cdc.record.numbering", "cdc.record.partition", "cdc.record.record", "cdc.record.shape",
    "cdc.source.narrow", "cdc.source.time_encoding", "cdc.wire.ack", "cdc.wire.cursor", "cdc.wire.pgoutput",
    "cdc.wire.tuples", "sink.fold.batch", "sink.fold.set_or_clear", "sink.fold.column_route", "sink.fold.copytext",
    "sink.fold.pivot", "sink.fold.progress", "sink.fold.quarantine_entry", "sink.fold.rows", "sink.fold.spread",
    "sink.mapping.dictionary", "sink.mapping.interpret", "sink.mapping.names", "sink.mapping.mapping",
    "sink.mapping.rule", "sink.mapping.wide", "sink.mapping.width", "sink.state.latency", "sink.wide.planned",
    "snapshot.chunks.plan", "snapshot.fill.fold",
]  # fmt: skip
"""These decode, assemble, fold and plan: bytes and values in, values out. At the least: see `says_pure`."""


def modules() -> list[str]:
    files = (path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))
    return sorted(name(path) for path in files)


def name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def source(module: str) -> Path | None:
    """The file of a module of ours, None if it is not a module (then it is a name in one)."""
    base = ROOT.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.exists()), None)


@cache
def imports(module: str) -> frozenset[str]:
    """What a module imports, anywhere in it: `from a import b` counts as a and, if b is a module, as a.b."""
    path = source(module)
    assert path is not None, f"{module} is not there: mend the list above"
    found = set(
        _imported(ast.parse(path.read_text()), module if path.stem == "__init__" else module.rpartition(".")[0])
    )
    return frozenset(found - {module})


def _imported(tree: ast.Module, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(origin, names, level):
                above = package.split(".")[: len(package.split(".")) - (level - 1)] if level else []
                whole = ".".join([*above, *([origin] if origin else [])])
                yield whole
                yield from (f"{whole}.{alias.name}" for alias in names)


def reached(module: str) -> dict[str, str]:
    """All modules that an import of `module` brings in, with the one that asks for each of them."""
    seen: dict[str, str] = {}
    waiting = [module]
    while waiting:
        asking = waiting.pop()
        for wanted in imports(asking):
            if wanted in seen:
                continue
            seen[wanted] = asking
            if wanted.partition(".")[0] in LAYERS and source(wanted) is not None:
                waiting.append(wanted)
    return seen


def test_no_arrow_goes_back() -> None:
    found = {}
    for module in modules():
        height = LAYERS.index(module.partition(".")[0])
        found[module] = [wanted for wanted in imports(module) if wanted.partition(".")[0] in LAYERS[height + 1 :]]
    above = {module: wanted for module, wanted in found.items() if wanted}
    assert not above, f"{above}: only widebeam -> snapshot -> sink -> cdc is allowed"


def says_pure(module: str) -> bool:
    """Whether its docstring says so."""
    path = source(module)
    assert path is not None
    return bool(re.search(r"\bPure\b", ast.get_docstring(ast.parse(path.read_text())) or ""))


def test_a_pure_module_reaches_no_driver() -> None:
    for module in sorted(set(PURE) | set(filter(says_pure, modules()))):
        drivers = {wanted: asking for wanted, asking in reached(module).items() if wanted.partition(".")[0] in DRIVERS}
        assert not drivers, f"{module} reaches a driver (driver: who imports it): {drivers}"


def folders() -> list[Path]:
    return sorted({path.parent for layer in LAYERS for path in (ROOT / layer).rglob("*.py")})


def test_a_package_itself_imports_nothing_and_says_what_it_is_for() -> None:
    for folder in folders():
        tree = ast.parse((folder / "__init__.py").read_text())
        if folder.name != "cli":
            assert not list(_imported(tree, "x")), f"{folder}: else each module in it, pure or not, brings that in"
        assert ast.get_docstring(tree), f"{folder}: the door plate: what is in here, and what it may import"


def test_a_folder_is_seen_at_a_glance() -> None:
    many = {str(folder.relative_to(ROOT)): len(list(folder.glob("*.py"))) for folder in folders()}
    assert not {folder: count for folder, count in many.items() if count > MOST_FILES}


def room(module: str) -> str:
    """The room of a module of ours: a folder in a package, or what lies in the package itself."""
    package, *rest = module.split(".")
    if len(rest) > 1 or (rest and (ROOT / package / rest[0]).is_dir()):
        return f"{package}.{rest[0]}"
    return f"{package} words" if not rest or rest[0] in WORDS.get(package, ()) else package


def test_each_room_has_its_place_in_the_order() -> None:
    assert {room(module) for module in modules()} | {"cdc words"} == set(ROOMS) | {"sink words", "snapshot words"}


def test_no_arrow_between_rooms_goes_back() -> None:
    for module in modules():
        here = room(module)
        if here not in ROOMS:
            continue  # a package by itself, which imports nothing
        ours = {name for name in imports(module) if name.partition(".")[0] in LAYERS and source(name) is not None}
        rooms = {wanted: room(wanted) for wanted in ours if room(wanted) in ROOMS}
        above = {wanted: each for wanted, each in rooms.items() if ROOMS.index(each) > ROOMS.index(here)}
        assert not above, f"{module} is in {here}, and imports {above}, which stand above it: see ROOMS"


def test_no_module_is_imported_in_a_circle() -> None:
    for module in modules():
        ours = [
            wanted for wanted in reached(module) if source(wanted) is not None and wanted.partition(".")[0] in LAYERS
        ]
        assert module not in ours, f"{module} imports itself by way of {reached(module)[module]}"


def test_the_test_sees_imports_of_every_form() -> None:
    text = "import a.b\nfrom c import d\nfrom . import e\nfrom .f import g\nfrom .. import h\ndef x():\n import i"
    assert {"a.b", "c", "c.d", "p.q.e", "p.q.f", "p.q.f.g", "p.h", "i"} <= set(_imported(ast.parse(text), "p.q"))
