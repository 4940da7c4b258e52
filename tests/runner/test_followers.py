"""Several processes that train one model, with a worker and its followers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from flowbench.registry import PluginSelection, load_registry
from flowbench.runner.attempt import MODEL, ORDER, AttemptDir, Heartbeat, ResultsDir, WorkOrder
from flowbench.runner.executors.process_group import how_it_ended
from flowbench.runner.followers import environment_of, keep_to_cores
from flowbench.runner.plan import plan
from flowbench.runner.turnstile import Turnstile
from flowbench.runner.under_way import Attempt
from flowbench.runner.worker import run_attempt
from flowbench.store.attempt_files import LIKELIHOODS
from flowbench.store.records import AttemptRow
from flowbench.suite.schema import Suite
from flowbench.training.checkpoint import load_checkpoint
from flowbench.training.clock import Clock

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
PLUGINS = (TESTS / "fakes.py", TESTS / "together.py")
WITHIN_S = 300.0  # of a machine that does much else


def place(results: Path, num_devices: int, *, resume: Path | None = None, **suite: Any) -> Path:
    """The folder of an attempt that is to be begun."""
    registry = load_registry(PluginSelection(exclude=("flowbench",), files=PLUGINS))
    given: dict[str, Any] = {
        "models": ("fake-together",),
        "datasets": ("fake-images",),
        "metrics": ("fake_nll",),
        "budget": "20steps",
        "protocol": {"batch_size": 7},  # neither 60 test examples nor two devices divide by it
    }
    (job,), _ = plan(Suite(**given | suite), registry, results)
    directory = ResultsDir(results).new_attempt(job.row.job_id)
    order = WorkOrder(
        job=job.row,
        number=directory.number,
        metrics=job.metrics,
        resume=None if resume is None else str(resume),
        device="cpu",
        num_threads=num_devices,
        data_dir=str(results),
        plugins_excluded=("flowbench",),
        plugin_files=tuple(map(str, PLUGINS)),
        spawned=time.monotonic(),
        spawned_utc="",
        num_devices=num_devices,
    )
    directory.write(ORDER, order.model_dump_json())
    return directory.path


def alone(folder: Path, stop_at: int | None = None) -> AttemptRow:
    """Does an attempt in this process, up to a step."""
    directory, clock = AttemptDir(folder), Clock()
    pulse: Any = SimpleNamespace(now=lambda *_: None, within=lambda *_: None, step=0)
    turnstile = Turnstile(folder / "locks")
    stop = Stop(pulse, stop_at)
    attempt = Attempt(directory.order(), directory, clock, turnstile, pulse, stop)
    record = run_attempt(attempt)
    directory.write_record(record)
    turnstile.close()
    return record


class Stop(threading.Event):
    """Asks to stop at a step."""

    def __init__(self, pulse: Any, at: int | None) -> None:
        super().__init__()
        self._pulse, self._at = pulse, at

    def is_set(self) -> bool:
        return self._at is not None and bool(self._pulse.step >= self._at)


@pytest.fixture(autouse=True)
def found_by_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plugins of tests import one another, which a clean checkout has on no path."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def begin() -> Iterator[Callable[[Path], subprocess.Popen[bytes]]]:
    """Starts workers, which are gone at the end."""
    begun: list[subprocess.Popen[bytes]] = []

    def start(folder: Path, path: str = str(ROOT)) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "flowbench.runner.worker", str(folder)]
        environment = {**os.environ, "PYTHONPATH": path}
        with (folder / "log.txt").open("wb") as log:
            begun.append(
                subprocess.Popen(
                    command,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    cwd=ROOT,
                    env=environment,
                )
            )
        return begun[-1]

    yield start
    for process in begun:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def at_step(folder: Path, step: int) -> Heartbeat:
    """Waits until a training has come to a step."""
    until = time.monotonic() + WITHIN_S
    while (beat := AttemptDir(folder).heartbeat()) is None or beat.step < step:
        assert time.monotonic() < until, (folder / "log.txt").read_text(encoding="utf-8")
        time.sleep(0.05)
    return beat


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8")
    return [int(child) for child in text.split()]


def is_there(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return False


def state_of(folder: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = load_checkpoint(folder / MODEL)["model"]
    return state


def apart(before: Path, after: Path) -> float:
    """The largest difference of a weight, or of a running statistic."""
    states = state_of(before), state_of(after)
    pairs = [(value.double(), states[1][name].double()) for name, value in states[0].items()]
    return max(float((a - b).abs().max()) for a, b in pairs)


@pytest.mark.slow
@pytest.mark.long
def test_two_train_as_one_and_go_on_where_another_number_stopped(
    tmp_path: Path, begin: Callable[[Path], subprocess.Popen[bytes]]
) -> None:
    """From 2 to 1, with batch statistics; from 1 to 2, with batches in parts."""
    with_norm: dict[str, Any] = {"overrides": {"fake-together.step_s": 0.1}}
    in_parts: dict[str, Any] = {
        "overrides": {"fake-together.norm": False, "fake-together.training.accumulate": 2}
    }
    two = place(tmp_path / "a", 2, **with_norm)
    process = begin(two)
    whole = [place(tmp_path / name, 1, **case) for name, case in (("b", {}), ("c", in_parts))]
    assert [alone(folder).status for folder in whole] == ["ok", "ok"]
    stopped = place(tmp_path / "d", 1, **in_parts)
    assert alone(stopped, stop_at=7).steps == 7

    at_step(two, 3)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(WITHIN_S) == 75
    record = AttemptDir(two).record()
    assert record is not None
    assert (record.status, record.num_devices) == ("preempted", 2)
    assert 3 <= record.steps < 20
    resumed = place(tmp_path / "a", 1, resume=two, **with_norm)
    process = begin(place(tmp_path / "d", 2, resume=stopped, **in_parts))
    assert alone(resumed).steps == 20
    assert apart(whole[0], resumed) < 1e-5

    assert process.wait(WITHIN_S) == 0
    resumed = tmp_path / "d" / stopped.relative_to(tmp_path / "d").parent / "2"
    record = AttemptDir(resumed).record()
    assert record is not None
    assert (record.status, record.steps, record.num_devices) == ("ok", 20, 2)
    assert record.examples == 20 * 16
    assert apart(whole[1], resumed) < 1e-5
    # Each test example once, however many processes there are.
    (nll,) = (m for m in record.measurements if m.name == "fake_nll")
    assert nll.n == 60
    found, expected = (np.load(f / LIKELIHOODS)["test"] for f in (resumed, whole[1]))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert sum(record.ledger.values()) == pytest.approx(record.wall_s)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="children are found in /proc")
def test_the_end_of_either_is_the_end_of_both(
    tmp_path: Path, begin: Callable[[Path], subprocess.Popen[bytes]]
) -> None:
    long: dict[str, Any] = {"budget": "3600s", "overrides": {"fake-together.step_s": 0.05}}
    folders = [place(tmp_path / name, 2, **long) for name in "ab"]
    workers = [begin(folder) for folder in folders]
    others = []
    for folder, process in zip(folders, workers, strict=True):
        at_step(folder, 2)
        (other,) = children(process.pid)
        others.append(other)
    os.kill(others[0], signal.SIGKILL)
    os.kill(workers[1].pid, signal.SIGKILL)
    began = time.monotonic()
    assert workers[0].wait(WITHIN_S) == 3
    record = AttemptDir(folders[0]).record()
    assert record is not None
    assert (record.status, record.reason) == ("killed", "rank 1 of 2 was killed by signal 9")
    assert record.steps >= 2
    while is_there(others[1]):
        assert time.monotonic() < began + WITHIN_S
        time.sleep(0.05)


@pytest.mark.slow
def test_one_that_fails_before_all_have_met_ends_the_job(
    tmp_path: Path, begin: Callable[..., subprocess.Popen[bytes]]
) -> None:
    folder = place(tmp_path, 2)
    # What the worker finds beside it, the other, which has no such folder on its path, does not.
    process = begin(folder, path="")
    assert process.wait(WITHIN_S) == 3
    record = AttemptDir(folder).record()
    assert record is not None
    assert record.status == "crashed"
    assert str(record.reason).startswith("rank 1 of 2: ")
    assert "No module named 'tests" in str(record.reason)


MAKE: Any = WorkOrder.model_construct
ORDERED: WorkOrder = MAKE(device="cuda", num_threads=6, num_devices=3, cores=None)


@pytest.mark.parametrize(
    ("given", "bound"),
    [("", ["0", "1", "2"]), ("GPU-a, 4,MIG-b", ["GPU-a", "4", "MIG-b"]), ("5,6", ["5", "6", ""])],
)
def test_each_process_has_a_device_of_its_own(
    monkeypatch: pytest.MonkeyPatch, given: str, bound: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    found = [environment_of(ORDERED, rank) for rank in range(3)]
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in found] == bound
    assert {environment["OMP_NUM_THREADS"] for environment in found} == {"2"}
    on_cpu = ORDERED.model_copy(update={"device": "cpu"})
    assert "CUDA_VISIBLE_DEVICES" not in environment_of(on_cpu, 0)


@pytest.mark.parametrize(
    ("cores", "kept"), [((2, 3, 5, 7), [{2}, {3}, {5}]), ((2, 3), [{2, 3}] * 3), (None, [])]
)
def test_processes_share_the_cores_of_their_job(
    monkeypatch: pytest.MonkeyPatch, cores: tuple[int, ...] | None, kept: list[set[int]]
) -> None:
    seen: list[set[int]] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, to: seen.append(set(to)), raising=False)
    for rank in range(3):
        keep_to_cores(ORDERED.model_copy(update={"cores": cores}), rank)
    assert seen == kept


def test_how_a_process_ended_is_told_by_its_exit_status() -> None:
    assert how_it_ended("rank 1", -9) == ("killed", "rank 1 was killed by signal 9")
    assert how_it_ended("rank 1", -11) == ("crashed", "rank 1 ended by SIGSEGV")
    assert how_it_ended("rank 1", 1) == ("crashed", "rank 1 ended with exit status 1")
