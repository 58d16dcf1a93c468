"""Labels: the fields of a jsonb value as texts, of which keys and entities are made. Pure."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=65_536)
def labels_of(text: str) -> dict[str, str | None]:
    """The fields by name: strings as they are, numbers as written, the rest as JSON. ValueError if it is no object.

    The answer is shared by all who ask: it is not to be changed.
    """
    try:
        found: Any = json.loads(text, parse_int=_Written, parse_float=_Written, parse_constant=_Written)
    except ValueError:
        raise ValueError(f"{text[:100]!r} is no JSON") from None
    if not isinstance(found, dict):
        raise ValueError(f"{text[:100]!r} is no JSON object")
    return {name: _label(value) for name, value in found.items()}


class _Written(str):
    """A number as it is written."""

    __slots__ = ()


def _label(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
