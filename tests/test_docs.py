"""What the docs name is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_each_test_that_the_page_on_reliability_names_exists() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    source = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", page)
    assert len(named) > 20
    assert not [name for name in named if f"def {name}(" not in source]
    paths = re.findall(r"`?((?:tests|cdc)/[\w/]+(?:\.py)?)`?", page)
    assert not [path for path in paths if not (ROOT / path).exists()]
