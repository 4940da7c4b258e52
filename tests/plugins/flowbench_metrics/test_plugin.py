from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

from flowbench.api import API_VERSION
from flowbench_metrics import plugin
from flowbench_metrics.plugin import register_metrics


def test_every_reference_resolves_to_a_metric() -> None:
    for spec in register_metrics():
        module, _, name = spec.compute.partition(":")
        parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
        assert list(parameters) == ["trained", "data", "settings"], spec.name


def test_names_are_unique_and_timed_metrics_exclusive() -> None:
    specs = register_metrics()
    assert len({spec.name for spec in specs}) == len(specs)
    exclusive = {spec.name for spec in specs if spec.exclusive}
    assert exclusive == {
        "sampling_latency",
        "sampling_throughput",
        "density_throughput",
        "synthesis_khz",
    }
    assert plugin.FLOWBENCH_API_VERSION == API_VERSION


def test_listing_is_light() -> None:
    code = (
        "import sys, flowbench_metrics.plugin as p; p.register_metrics();"
        "print([m for m in ('numpy', 'torch', 'pydantic') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
