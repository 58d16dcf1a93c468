"""Every protection that can be switched off, in one place."""

from __future__ import annotations

from typing import Final

from tests.protections.of_answers import ANSWERS
from tests.protections.of_backfill import BACKFILL
from tests.protections.of_capture import CAPTURE
from tests.protections.of_catalog import CATALOG
from tests.protections.of_cells import CELLS
from tests.protections.of_health import HEALTH
from tests.protections.of_operation import OPERATION
from tests.protections.of_readings import READINGS
from tests.protections.of_sink import SINK
from tests.protections.of_values import VALUES

PROTECTIONS: Final = (
    *CAPTURE, *SINK, *BACKFILL, *CATALOG, *VALUES, *READINGS, *CELLS, *OPERATION, *HEALTH, *ANSWERS
)  # fmt: skip
