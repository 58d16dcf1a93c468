"""Labels: the fields of a jsonb value as texts, of which keys and entities are made. Pure."""

from __future__ import annotations

import json
from threading import Lock
from typing import Any, Final, TypeAlias

Labels: TypeAlias = "dict[str, str | None]"

MOST_BYTES: Final = 16 * 1024 * 1024
"""How much is remembered, about, before the memory starts anew: a series comes again and again with the same labels."""
_LABEL: Final = 150  # bytes of a field with its two texts, beside their characters


def labels_of(text: str) -> Labels:
    """The fields by name: strings as they are, numbers as written, the rest as JSON. ValueError if it is no object.

    The answer is shared by all who ask: it is not to be changed.
    """
    found = _known.get(text)
    return _known.keep(text, _read(text)) if found is None else found


class _Known:
    """What was read, bounded in bytes; threads share it."""

    def __init__(self) -> None:
        self._labels: dict[str, Labels] = {}
        self._bytes = 0
        self._lock = Lock()
        self.get: Final = self._labels.get

    def keep(self, text: str, labels: Labels) -> Labels:
        """Remember labels; of those that would fill the memory alone, nothing."""
        size = 3 * len(text) + _LABEL * (len(labels) + 1)
        with self._lock:
            if self._bytes + size > MOST_BYTES:
                self._labels.clear()
                self._bytes = 0
            if size <= MOST_BYTES and text not in self._labels:
                self._labels[text] = labels
                self._bytes += size
        return labels

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._labels.clear()
            self._bytes = 0


def _read(text: str) -> Labels:
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


_known: Final = _Known()
