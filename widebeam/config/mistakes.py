"""Mistakes in a connector's options, said so that they can be mended: what, where, and what was meant or expected."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from widebeam.config.options.file import Options
from widebeam.config.options.server import has_secret

PREFIX: Final = "WIDEBEAM_"
_GROUPS: Final = re.compile(r"\s*\[\[\s*target\s*\.\s*groups\s*\]\]")
_SECRET: Final = ("password", "secret", "token", "jaas", "key.pem")

_EXPECTED: Final = {
    "string_type": "expected a text in quotes",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "list_type": 'expected a list: ["name"]',
    "dict_type": "expected a table: { name = value }",
    "model_type": "expected a section, not a value",
    "path_type": "expected the path of a file",
    "too_short": "expected at least one",
    "string_too_long": "expected 10,000 characters at most",
}


def explain(error: ErrorDetails, file: Path, environment: Mapping[str, str]) -> str:
    """One mistake as pydantic found it, as one line."""
    path = tuple(str(part) for part in error["loc"])
    place = where(path, file, environment)
    match error["type"]:
        case "missing" if len(path) == 1:
            return f"{file}: the section [{path[0]}] is missing"
        case "missing":
            return f"{place}: the option `{path[-1]}` is missing"
        case "extra_forbidden":
            return f"{place}: unknown {_kind(path)} `{path[-1]}`{nearest(path)}"
        case "value_error":
            return f"{place}: {_subject(path)}{error['ctx']['error']}"
        case kind:
            return f"{place}: {_subject(path)}{_expectation(kind, error)}"


def where(path: tuple[str, ...], file: Path, environment: Mapping[str, str]) -> str:
    """The environment variable that sets `path`, or the file and section."""
    for length in range(len(path), 0, -1):
        variable = PREFIX + "__".join(path[:length]).upper()
        if variable in (name.upper() for name in environment):
            return variable
    if path[:2] == ("target", "groups") and len(path) > 2:
        return f"{file}, {_line(path, file)}section [[target.groups]]"
    section = ".".join(path[:-1])
    return f"{file}, section [{section}]" if section else str(file)


def _line(path: tuple[str, ...], file: Path) -> str:
    """Where a group, or an option of it, stands in the file, for there may be many; empty where it is not plain."""
    lines = file.read_text(encoding="utf-8").splitlines()
    heads = [n for n, line in enumerate(lines, 1) if _GROUPS.match(line)]
    if int(path[2]) >= len(heads):
        return ""
    found = head = heads[int(path[2])]
    for n, line in enumerate(lines[head:], head + 1):
        if line.lstrip().startswith("["):
            break
        if len(path) > 3 and line.partition("=")[0].strip() == path[3]:
            found = n
    return f"line {found}, "


def nearest(path: tuple[str, ...]) -> str:
    """`; did you mean ...?` with the known name that is most like the last one of `path`, or all known names."""
    known = known_names(path[:-1])
    close = difflib.get_close_matches(path[-1].lower(), known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean `{close[0]}`?"
    elsewhere = [section for section in known_names(()) if path[-1] in known_names((section,))]
    if elsewhere:
        return f"; it belongs to [{elsewhere[0]}]"
    return f"; known here: {', '.join(known)}"


def known_names(section: tuple[str, ...]) -> list[str]:
    """The options of a section as they are written; none for an unknown section."""
    model: type[BaseModel] = Options
    for name in section:
        if name.isdigit():  # one of a list of sections
            continue
        field = model.model_fields.get(name)
        inner = [] if field is None else [field.annotation, *get_args(field.annotation)]
        models = [kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not models:
            return []
        model = models[0]
    return [field.alias or name for name, field in model.model_fields.items()]


def secrets_in_file(raw: Mapping[str, Any], file: Path) -> Iterator[str]:
    """Refuse passwords that stand in the file, where backups, diffs and colleagues see them."""
    for section, option in (("source", "dsn"), ("target", "dsn"), ("backfill", "standby_dsn")):
        given = raw.get(section)
        dsn = given.get(option) if isinstance(given, dict) else None
        if isinstance(dsn, str) and _has_password(dsn):
            yield f"{file}, section [{section}]: `{option}` holds a password; {_way_out(section)}"
    for section in ("source", "target"):
        given = raw.get(section)
        if isinstance(given, dict) and "password" in given:
            yield f"{file}, section [{section}]: a password in the file is refused; {_way_out(section)}"
    kafka = raw.get("kafka")
    client = kafka.get("client") if isinstance(kafka, dict) else None
    for name in client if isinstance(client, dict) else ():
        if any(word in str(name).lower() for word in _SECRET):
            yield (
                f"{file}, section [kafka]: `client` holds the secret {name!r}; "
                f"""set it in the environment: {PREFIX}KAFKA__CLIENT='{{"{name}": "..."}}'"""
            )


def strangers(environment: Mapping[str, str]) -> Iterator[str]:
    """Variables that look like ours but name no section: pydantic would pass over them in silence."""
    sections = known_names(())
    for name in environment:
        section, separator, option = name.upper().removeprefix(PREFIX).lower().partition("__")
        if name.upper().startswith(PREFIX) and separator and option and section not in sections:
            close = difflib.get_close_matches(section, sections, n=1, cutoff=0.6)
            meant = f"; did you mean {PREFIX}{close[0].upper()}__{option.upper()}?" if close else ""
            yield f"{name}: unknown section `{section}`{meant}"


def _has_password(dsn: str) -> bool:
    try:
        return has_secret(dsn)
    except ValueError:  # it is no connection string: said elsewhere, without showing it
        return False


def _way_out(section: str) -> str:
    if section == "backfill":
        return "use libpq's own PGPASSFILE"
    return f"use `password_file`, {PREFIX}{section.upper()}__PASSWORD or libpq's own PGPASSFILE"


def _kind(path: tuple[str, ...]) -> str:
    return "section or option" if len(path) == 1 else "option"


def _subject(path: tuple[str, ...]) -> str:
    return f"`{path[-1]}`: " if path and not path[-1].isdigit() else ""


def _expectation(kind: str, error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    match kind:
        case "literal_error":
            return f"expected {context['expected']}"
        case "greater_than_equal":
            return f"expected at least {context['ge']}"
        case "greater_than":
            return f"expected more than {context['gt']}"
        case "less_than_equal":
            return f"expected at most {context['le']}"
        case _:
            return _EXPECTED.get(kind, error["msg"])
