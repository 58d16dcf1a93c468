"""A connector's file: its sections, and the name it gives to the connector."""

from __future__ import annotations

import re
from typing import Final

from pydantic_settings import BaseSettings, SettingsConfigDict

from widebeam.config.options.parts import Backfill, Health, Kafka, Run, Sink
from widebeam.config.options.source import Source
from widebeam.config.options.target import Target

NAME: Final = re.compile(r"[a-z0-9_][a-z0-9_-]{0,46}")
"""A connector's name: short enough that slot, publication and topic can be named after it."""


class Options(BaseSettings):
    """A whole connector file. Read it by `widebeam.config.load`, which gives the environment the last word."""

    model_config = SettingsConfigDict(
        env_prefix="WIDEBEAM_", env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    source: Source
    target: Target
    kafka: Kafka | None = None
    sink: Sink = Sink()
    backfill: Backfill = Backfill()
    run: Run = Run()
    health: Health = Health()
