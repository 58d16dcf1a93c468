"""No arrow goes back, and the pure parts know neither PostgreSQL's driver nor Kafka's."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ["cdc", "sink", "snapshot", "widebeam"]
"""From the lowest to the highest: each may import itself and those before it."""

DRIVERS = {"psycopg", "psycopg_pool", "confluent_kafka"}

PURE = {
    "cdc": [
        "ack", "assembler", "avro", "change", "cursor", "direct", "envelope", "event", "halt", "lsn", "memory",
        "moment", "narrow", "numbering", "partition", "pgoutput", "record", "shape", "transport", "tuples",
    ],
    "sink": [
        "batch", "cells", "copytext", "dictionary", "interpret", "latency", "layout", "mapping", "misfit", "pivot",
        "planned", "progress", "route", "rows", "rule", "wide", "width",
    ],
    "snapshot": ["fold", "plan"],
}  # fmt: skip
"""These decode, assemble, fold and plan: bytes and values in, values out. At the least: see `says_pure`."""


def modules() -> list[str]:
    files = (path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))
    return sorted(name(path) for path in files)


def name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


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


@pytest.mark.parametrize("module", modules())
def test_no_arrow_goes_back(module: str) -> None:
    height = LAYERS.index(module.partition(".")[0])
    above = [wanted for wanted in imports(module) if wanted.partition(".")[0] in LAYERS[height + 1 :]]
    assert not above, f"{module} imports {above}: only widebeam -> snapshot -> sink -> cdc is allowed"


def says_pure(module: str) -> bool:
    """Whether its docstring says so."""
    path = source(module)
    assert path is not None
    return bool(re.search(r"\bPure\b", ast.get_docstring(ast.parse(path.read_text())) or ""))


@pytest.mark.parametrize(
    "module",
    sorted({f"{layer}.{name}" for layer, names in PURE.items() for name in names} | set(filter(says_pure, modules()))),
)
def test_a_pure_module_reaches_no_driver(module: str) -> None:
    drivers = {wanted: asking for wanted, asking in reached(module).items() if wanted.partition(".")[0] in DRIVERS}
    assert not drivers, f"{module} reaches a driver (driver: who imports it): {drivers}"


@pytest.mark.parametrize("layer", PURE)
def test_a_package_itself_imports_nothing(layer: str) -> None:
    assert not imports(layer), "else every module in it, pure or not, would bring that in"


def test_no_module_is_imported_in_a_circle() -> None:
    for module in modules():
        ours = [
            wanted for wanted in reached(module) if source(wanted) is not None and wanted.partition(".")[0] in LAYERS
        ]
        assert module not in ours, f"{module} imports itself by way of {reached(module)[module]}"


def test_the_test_sees_imports_of_every_form() -> None:
    text = "import a.b\nfrom c import d\nfrom . import e\nfrom .f import g\nfrom .. import h\ndef x():\n import i"
    assert {"a.b", "c", "c.d", "p.q.e", "p.q.f", "p.q.f.g", "p.h", "i"} <= set(_imported(ast.parse(text), "p.q"))
