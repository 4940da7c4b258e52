from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from multiprocessing.util import Finalize
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import pytest
import torch

from flowbench.api.executors import ExecutorSettings, Slot
from flowbench.registry import PluginSelection, Registry, load_registry
from flowbench.runner.executors import local
from flowbench.runner.executors.forks import ForkServer

FAKES = Path(__file__).parent / "fakes.py"

torch.set_num_threads(1)


def keep_to_own_cores() -> None:
    """Gives each test process, and all that it starts, a share of the cores.

    Jobs of a run have cores of their own, counted from the first that the run may use: those of two
    test processes would wait for the same one.
    """
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if count > 1 and hasattr(os, "sched_setaffinity"):
        index = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
        share = sorted(os.sched_getaffinity(0))[index::count]
        if share:
            os.sched_setaffinity(0, share)


keep_to_own_cores()


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
    # After multiprocessing has removed what it has there, which it does at exit.
    keep_nothing = {"ignore_errors": True}
    Finalize(None, shutil.rmtree, (folder,), keep_nothing, exitpriority=-200)


@pytest.fixture(scope="session", autouse=True)
def _kept_fork_servers(_own_turnstile: None) -> Iterator[None]:
    """What forks workers serves all runs of this process: each start of it imports torch anew."""
    servers: dict[int, ForkServer] = {}

    class Keeping(local.LocalExecutor):
        _servers = property(lambda self: servers, lambda self, _: None)

        def close(self) -> None:
            """Leaves them to the next run."""

        def _server(self, slot: Slot, environment: dict[str, str], log: BinaryIO) -> ForkServer:
            environment.pop("PYTEST_CURRENT_TEST", None)  # or each test had another environment
            server = servers.get(slot.index)
            if server is not None and server.is_asked:  # by a run that ended before it answered
                servers.pop(slot.index).close()
            return super()._server(slot, environment, log)

    make = local.local_executor

    def keeping(settings: ExecutorSettings) -> local.LocalExecutor:
        executor = make(settings)
        executor.__class__ = Keeping
        return executor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "local_executor", keeping)
        yield
    for server in servers.values():
        server.close()


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
