"""The specs of the datasets that ship with flowbench.

A light module: it imports neither NumPy nor torch, because every ``flowbench list`` reads it.
"""

from __future__ import annotations

from flowbench.api import DatasetSpec, hookimpl
from flowbench_datasets.facts import DOWNLOADED
from flowbench_datasets.specs import SHIPPED
from flowbench_datasets.speech_specs import SPEECH
from flowbench_datasets.tabular_specs import TABULAR

FLOWBENCH_API_VERSION = 2


@hookimpl
def register_datasets() -> list[DatasetSpec]:
    """The datasets that need no download, then those that are prepared once."""
    return [*SHIPPED, *DOWNLOADED, *TABULAR, *SPEECH]
