from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from flowbench.registry import PluginSelection, Registry, load_registry

HERE = Path(__file__).parent
FILES = tuple(HERE / name for name in ("sound_models.py", "mutants.py", "other_mutants.py"))


@pytest.fixture(scope="session")
def registry() -> Registry:
    """Sound plugins and mutants, and none of those that ship."""
    return load_registry(PluginSelection(exclude=("flowbench",), files=FILES))


@pytest.fixture(scope="session")
def mutants(registry: Registry) -> ModuleType:
    return sys.modules["mutants"]


@pytest.fixture(scope="session")
def other_mutants(registry: Registry) -> ModuleType:
    return sys.modules["other_mutants"]
