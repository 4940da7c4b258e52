"""A plugin that prints, warns and logs when it is imported; for every version of the plugin API."""

from __future__ import annotations

import logging
import sys
import warnings

from flowbench import api
from flowbench.api import MetricSpec, hookimpl

FLOWBENCH_API_VERSION = api.API_VERSION
sys.stdout.write("hello from a plugin\n")
warnings.warn("careful", stacklevel=1)
logging.basicConfig(level=logging.DEBUG)


@hookimpl
def register_metrics() -> list[MetricSpec]:
    sys.stdout.write("registering\n")
    metric = MetricSpec(
        name="talk",
        compute=f"{__name__}:no_function",
        unit="",
        direction="lower",
        summary="of a case",
        default=False,
    )
    return [metric]
