"""The metrics that ship with flowbench.

A light module: it imports neither NumPy nor torch, because every ``flowbench list`` reads it.
"""

from __future__ import annotations

from flowbench.api import MetricSpec, hookimpl
from flowbench_metrics.specs import ALL

FLOWBENCH_API_VERSION = 2


@hookimpl
def register_metrics() -> list[MetricSpec]:
    """Likelihoods and distances, then costs and counts, then what vouches for a run."""
    return list(ALL)
