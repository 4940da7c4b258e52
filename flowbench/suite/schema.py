"""What a suite says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from flowbench.api.config import MetricSettings

PROTOCOL_VERSION = 1
"""Raised whenever the evaluation protocol changes a number; part of every job id."""


class Suite(BaseModel):
    """What to run.

    Attributes:
        name: Lower-case id.
        title: Its subject, as ``flowbench list suites`` shows it.
        models: ``name`` or ``name:preset``.
        datasets: Dataset ids.
        metrics: Metric names; None takes all that apply.
        budget: Training budget of each job, e.g. ``60s`` or ``60s,5000steps``.
        seeds: One job for each.
        overrides: Configuration values by dotted key, ``model.key``.
        protocol: How every row is evaluated.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="flags", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    title: str = ""
    models: tuple[str, ...] = Field(min_length=1)
    datasets: tuple[str, ...] = Field(default=("digits",), min_length=1)
    metrics: tuple[str, ...] | None = None
    budget: str = "60s"
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    overrides: Mapping[str, Any] = Field(default_factory=dict)
    protocol: MetricSettings = MetricSettings()
