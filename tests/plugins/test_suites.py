"""The shipped suites name models, presets and datasets that there are."""

from __future__ import annotations

import pytest

from flowbench.registry import PluginSelection, Registry, load_registry
from flowbench.registry.configs import configure
from flowbench.suite.find import find_suite, shipped_suites
from flowbench.suite.load import load_suite

RUNNING = [name for name in shipped_suites() if load_suite(find_suite(name)).models]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry(PluginSelection())


@pytest.mark.parametrize("name", RUNNING)
def test_every_row_resolves(registry: Registry, name: str) -> None:
    suite = load_suite(find_suite(name))
    for dataset in suite.datasets:
        info = registry.dataset(dataset).spec.info(num_validation=0)
        choices = suite.models_on(dataset)
        elsewhere = {c for its in suite.by_package(choices).values() for c in its}
        for choice in (c for c in choices if c not in elsewhere):
            configured = configure(registry, choice, info, {})
            assert configured.unsupported(info) is None
