"""What every verb has on its command line. Light, since each verb loads it, and no verb loads what only others need."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

ConnectorName = Annotated[str, typer.Argument(metavar="CONNECTOR", help="Its name, or the path of its file.")]

Wait = Annotated[
    bool, typer.Option("--wait", help="Wait until nothing is missing that `widebeam check` names, instead of ending.")
]


def wants_debug() -> bool:
    """Whether tracebacks and debug messages are wanted; asked before the options are read, too."""
    return "--debug" in sys.argv[1:] or bool(os.environ.get("WIDEBEAM_DEBUG"))
