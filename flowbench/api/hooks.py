"""The five hooks that a plugin can implement, on one page.

A plugin is a light module (it must not import torch) that an entry point of the group ``flowbench``
names. It says which API it was written for and implements any of the hooks::

    from flowbench.api import ModelSpec, hookimpl

    FLOWBENCH_API_VERSION = 2

    @hookimpl
    def register_models() -> list[ModelSpec]:
        return [ModelSpec(name="myflow", model="my_pkg.myflow:MyFlow", ...)]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from flowbench.api.executors import ExecutorSpec
    from flowbench.api.specs import DatasetSpec, MetricSpec, ModelSpec
    from flowbench.api.trackers import TrackerSpec

API_VERSION = 2
"""Version of everything in `flowbench.api`; a plugin written for another one is refused."""

PROJECT = "flowbench"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_models() -> list[ModelSpec]:
    """Returns the models of this plugin."""


@hookspec
def register_datasets() -> list[DatasetSpec]:
    """Returns the datasets of this plugin."""


@hookspec
def register_metrics() -> list[MetricSpec]:
    """Returns the metrics of this plugin."""


@hookspec
def register_executors() -> list[ExecutorSpec]:
    """Returns the executors of this plugin."""


@hookspec
def register_trackers() -> list[TrackerSpec]:
    """Returns the trackers of this plugin."""
