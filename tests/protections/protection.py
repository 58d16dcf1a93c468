"""What a protection is here: something in the code that can be switched off, and the tests that must fail then."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]

ASSERTED: Final = r"AssertionError|tests\.waiting\.|assert |Failed: DID NOT RAISE"
"""How a failure begins that an assertion of the test has found, or that what it awaits does not come: not by a mistake
in the code, nor by pytest's time-out."""


class Edit(NamedTuple):
    """`old` stands exactly once in the file, and `new` takes its place. Short, so that it survives changes."""

    path: str
    old: str
    new: str

    def applied(self, text: str) -> str:
        """The file's text with the protection off. ValueError unless there is exactly one place for it."""
        found = text.count(self.old)
        if found != 1:
            raise ValueError(f"{self.path} has {found} places for the edit {self.old!r}, and not one")
        return text.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Protection:
    """One protection. `keeps` are the lines of the matrix (tests/protections/matrix.py) that it serves.

    `tests` are pytest's node ids: each has to pass with the protection, and to fail without it by a message that begins
    with one of `fails_by` (a regular expression): the assertion that finds the harm, or the error that it lets through.
    """

    name: str
    keeps: tuple[str, ...]
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]
    fails_by: str = ASSERTED
