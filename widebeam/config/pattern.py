"""Regular expressions of a connector's file: bounded, so that no name that a source has can hold a process up.

Python's engine tries one way after the other. How many there are at most is seen in the pattern: `(a+)+` on thirty
letters is a thousand million, and such a pattern is refused. Names longer than `LONGEST` are not searched at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from importlib import import_module
from math import prod
from typing import Any, Final

from sink.mapping.group import LONGEST

MOST_WAYS: Final = (LONGEST + 1) ** 3
"""Three repeats without an end, one after the other; a few seconds at the very worst, on a name made for it."""

_parse: Final[Callable[[str], Iterable[tuple[Any, Any]]]] = import_module("re._parser").parse


def checked(pattern: str) -> re.Pattern[str]:
    """The compiled pattern; ValueError with what is wrong with it."""
    try:
        compiled = re.compile(pattern)
        tried = _ways(_parse(pattern))
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    except OverflowError as error:
        raise ValueError(f"not a regular expression that can be used: {error}") from None
    except RecursionError:
        raise ValueError("not a regular expression that can be used: it is nested too deeply") from None
    if tried > MOST_WAYS:
        raise ValueError(
            "a name can match it in so many ways that trying them all takes too long: put no repeat and no choice into "
            'a repeat ("[a-z_]+" for "([a-z]+_?)+"), or make the repeats possessive ("++", "*+")'
        )
    return compiled


def _ways(items: Iterable[tuple[Any, Any]]) -> float:
    """In how many ways a sequence can match a name of the greatest length, at most."""
    return prod(_ways_of(str(kind), given) for kind, given in items)


def _ways_of(kind: str, given: Any) -> float:
    match kind:
        case "MAX_REPEAT" | "MIN_REPEAT":
            low, high, inner = given
            return _repeated(_ways(inner), min(int(low), LONGEST), min(int(high), LONGEST))
        case "POSSESSIVE_REPEAT":  # what it took it keeps: a round is tried once
            return _ways(given[2]) * min(int(given[1]), LONGEST)
        case "BRANCH":
            return sum(map(_ways, given[1]))
        case "GROUPREF_EXISTS":
            return _ways(given[1]) + _ways(given[2] or ())
        case "SUBPATTERN" | "ASSERT" | "ASSERT_NOT" | "ATOMIC_GROUP":
            return _ways(given[-1] if isinstance(given, tuple) else given)
    return 1


def _repeated(inner: float, low: int, high: int) -> float:
    """So many rounds, of so many ways each."""
    try:
        return max(inner**high, 1) * (high - low + 1)
    except OverflowError:
        return float("inf")
