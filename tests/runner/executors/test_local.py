from __future__ import annotations

from pathlib import Path

import pytest

from flowbench.api import ConfigError, ExecutorSettings
from flowbench.runner.executors import local
from flowbench.runner.executors.local import LocalExecutor, local_executor
from flowbench.training.device import Device


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "available_cores", lambda: tuple(range(8)))


@pytest.mark.usefixtures("eight_cores")
def test_cpu_jobs_share_the_cores_fairly_and_apart() -> None:
    slots = LocalExecutor("cpu").slots
    assert [(slot.num_threads, slot.cores) for slot in slots] == [
        (4, (0, 1, 2, 3)),
        (4, (4, 5, 6, 7)),
    ]


@pytest.mark.usefixtures("eight_cores")
def test_more_jobs_than_cores_still_have_a_thread_each() -> None:
    slots = LocalExecutor("cpu", num_jobs=16).slots
    assert len(slots) == 16
    assert {slot.num_threads for slot in slots} == {1}


@pytest.mark.usefixtures("eight_cores")
def test_each_gpu_has_a_slot_and_only_sees_itself() -> None:
    slots = LocalExecutor("cuda", ("3", "GPU-x")).slots
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["3", "GPU-x"]
    assert all(slot.num_threads == 4 for slot in slots)


@pytest.mark.usefixtures("eight_cores")
def test_a_job_of_several_devices_takes_as_many_in_a_slot() -> None:
    slots = LocalExecutor("cuda", ("3", "GPU-x", "5", "6", "7"), num_devices=2).slots
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["3,GPU-x", "5,6"]
    assert all(slot.num_threads == 4 for slot in slots)
    slots = LocalExecutor("cpu", num_devices=6).slots
    assert [slot.cores for slot in slots] == [tuple(range(8))]


def test_more_devices_than_there_are_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    monkeypatch.setattr(Device, "select", lambda *_: Device("cuda", "a GPU", None))
    with pytest.raises(ConfigError, match="--devices-per-job is 2, but this machine has 1 of cuda"):
        local_executor(ExecutorSettings(folder=tmp_path, num_devices=2))
