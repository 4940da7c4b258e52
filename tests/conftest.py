from __future__ import annotations

import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from flowbench.registry import PluginSelection, Registry, load_registry

FAKES = Path(__file__).parent / "fakes.py"

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of slow tests go first, then long ones: else one worker ends with them alone."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (-slow[item.path], -tests[item.path]))


@pytest.fixture(scope="session", autouse=True)
def _own_turnstile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Jobs of one test process do not pause while those of another measure.

    Its place is the folder of temporary files, which what a test starts takes over.
    """
    tmp_path_factory.getbasetemp()  # outside of it: pytest keeps that
    folder = tempfile.mkdtemp(prefix="fb-")  # short: browsers have sockets below it
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", folder)
        patch.setenv("TMPDIR", folder)
        yield
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def fake_plugins() -> PluginSelection:
    """The fakes alone, as a user's plugin file."""
    return PluginSelection(exclude=("flowbench",), files=(FAKES,))


@pytest.fixture(scope="session")
def fake_registry(fake_plugins: PluginSelection) -> Registry:
    return load_registry(fake_plugins)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own results or data."""
    names = ("FLOWBENCH_PLUGINS", "FLOWBENCH_RESULTS", "FLOWBENCH_DATA", "FLOWBENCH_WEIGHTS")
    for name in names:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def fakes(fake_registry: Registry) -> ModuleType:
    """The module of the fakes, as the plugin door imported it."""
    return sys.modules["fakes"]
