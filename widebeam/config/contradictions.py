"""What is wrong with options of which each is right by itself: they contradict, or nothing can take them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from collections.abc import Mapping as Dict
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from sink.mapping.names import folded
from widebeam.config.connector import Connector
from widebeam.config.mistakes import where
from widebeam.config.options.server import Dsn


def contradictions(made: Connector, environment: Dict[str, str]) -> Iterator[str]:
    """What only shows when all options are seen together."""
    yield from _unread_passwords(made)
    yield from _impossible(made)
    yield from _groups_of_one_name(made, environment)
    yield from _columns_of_two_uses(made)


def unusable(made: Connector, environment: Dict[str, str]) -> Iterator[str]:
    """Texts that neither PostgreSQL nor the system takes: with a NUL, or with half a character (from JSON, from an
    environment that is not UTF-8)."""
    pending: list[tuple[tuple[str, ...], Any]] = [((), made.options.model_dump(by_alias=True))]
    while pending:
        path, value = pending.pop()
        match value:
            case dict():
                pending += [((*path, str(name)), (name, inner)) for name, inner in value.items()]
            case list() | tuple():
                pending += [(path, inner) for inner in value]
            case str() | Path() | SecretStr() | Dsn():
                text = value.get_secret_value() if isinstance(value, SecretStr | Dsn) else str(value)
                if "\0" in text or (not text.isascii() and text != text.encode(errors="ignore").decode()):
                    option = "" if not path else f"`{path[-1]}`".encode(errors="replace").decode() + ": "
                    yield f"{where(path, made.file, environment)}: {option}a NUL or half a character in a text"


def _unread_passwords(made: Connector) -> Iterator[str]:
    for section, server in (("source", made.options.source), ("target", made.options.target)):
        path = server.password_file
        if path is not None and (wrong := _wrong_with(path)) is not None:
            yield f"{made.file}, section [{section}]: `password_file`: {path} {wrong}"


def _wrong_with(password_file: Path) -> str | None:
    """Why it is no file with a password in it; None if it is one."""
    try:
        if not password_file.is_file() or not os.access(password_file, os.R_OK):
            return "cannot be read"
        if password_file.stat().st_size > 4096 or "\0" in password_file.read_text(encoding="utf-8"):
            return "holds no password: it is too long, or has a NUL in it"
    except UnicodeDecodeError:
        return "is not UTF-8"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None


def _impossible(made: Connector) -> Iterator[str]:
    """What the tables, as they are mapped, leave no room for."""
    target = made.options.target
    if "layout" in target.model_fields_set and target.layout != made.layout:
        yield f'{made.file}, section [target]: `layout` = "per_entity" needs both an entity and a time: leave it out'
    if len(made.patterns) + made.growing > 1 and made.options.sink.on_truncate == "apply":
        yield (
            f'{made.file}, section [sink]: `on_truncate` = "apply" with several narrow tables: '
            "the wide rows of one cannot be told from those of another"
        )
    if target.partition_by is not None and not made.options.source.time:
        yield (
            f"{made.file}, section [target]: `partition_by` needs a time, and `time` in [source] is empty: leave it out"
        )


def _groups_of_one_name(made: Connector, environment: Dict[str, str]) -> Iterator[str]:
    """Names that a reader would take for the same."""
    seen = dict[str, str]()
    for number, group in enumerate(made.options.target.groups):
        if folded(group.name) in seen:
            place = where(("target", "groups", str(number), "name"), made.file, environment)
            yield f"{place}: `name`: there is a group {seen[folded(group.name)]!r} already: name one of them otherwise"
        seen.setdefault(folded(group.name), group.name)


def _columns_of_two_uses(made: Connector) -> Iterator[str]:
    table = made.table
    names = [*table.wide, *table.key, *table.values]
    shown = [*made.family.rule(table, {}).entity, *table.time]  # the wide tables' key columns, virtual ones too
    for name in sorted({name for some in (names, shown) for name in some if some.count(name) > 1}):
        yield f"{made.file}, section [source]: the column `{name}` is used for two things (entity, time, key, value)"
