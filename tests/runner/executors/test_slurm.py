"""What is said to SLURM and read from it, without one: see `test_slurm_cluster` for a real one."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from flowbench.api import JobState, Submission
from flowbench.api.executors import ExecutorSettings
from flowbench.errors import ConfigError, ExecutorError
from flowbench.runner.executors import slurm
from flowbench.runner.executors.process_group import has_ended
from flowbench.runner.executors.slurm import SlurmExecutor, StartWorker

ASKED = {"partition": "gpu", "time": "4:00:00", "cpus_per_task": "8"}


def command(folder: Path, name: str, does: str) -> None:
    """A command of that name, in a folder of commands."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{does}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where commands of SLURM are looked for, beside those of the system."""
    folder = tmp_path / "bin"
    command(folder, "sbatch", f"cp $1 {tmp_path}/batch.sh; echo Submitted batch job 7")
    command(folder, "srun", "exit 1")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def made(tmp_path: Path, options: Mapping[str, str] = ASKED, **more: Any) -> SlurmExecutor:
    return SlurmExecutor(ExecutorSettings(options=options, folder=tmp_path / "slurm", **more))


@pytest.mark.usefixtures("bin_folder")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"partition": "gpu"}, "no time was given; expected .* --slurm time=4:00:00"),
        ({"time": "1", "array": "0-3"}, "array cannot be set"),
        ({"time": "1", "ntasks_per_node": "2"}, "ntasks-per-node cannot be set"),
    ],
)
def test_options_that_are_not_the_users_to_set_are_named(
    tmp_path: Path, options: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        made(tmp_path, options)


def test_without_slurm_or_submitit_one_line_says_so(
    tmp_path: Path, bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = made(tmp_path)
    monkeypatch.setitem(sys.modules, "submitit", None)
    monkeypatch.setitem(sys.modules, "submitit.helpers", None)
    with pytest.raises(ExecutorError, match=r"needs submitit; pip install 'flowbench\[slurm\]'"):
        executor.submit([Submission(folder=tmp_path)])
    (bin_folder / "sbatch").unlink()
    monkeypatch.setenv("PATH", str(bin_folder))
    with pytest.raises(ExecutorError, match="no sbatch on PATH"):
        made(tmp_path)


@pytest.mark.usefixtures("bin_folder")
@pytest.mark.parametrize(
    ("options", "device", "asked"),
    [
        ({}, "auto", {"gres": "gpu:2"}),
        ({"gres": "gpu:a100:2"}, "auto", {"gres": "gpu:a100:2"}),
        ({"gpus_per_node": "2"}, "cuda", {"gpus-per-node": "2"}),
        ({}, "cpu", {"cpus-per-task": "2"}),
        ({"cpus_per_task": "8"}, "cpu", {"cpus-per-task": "8"}),
    ],
)
def test_devices_of_a_job_are_asked_for(
    tmp_path: Path, options: dict[str, str], device: str, asked: dict[str, str]
) -> None:
    executor = made(tmp_path, {"time": "1", **options}, num_devices=2, device=device)
    assert executor._options == {"time": "1", **asked}


@pytest.mark.usefixtures("bin_folder")
@pytest.mark.parametrize("gres", ["gpu", "gpu:1", "gpu:a100:4", "shard:two"])
def test_other_devices_than_those_of_a_job_are_refused(tmp_path: Path, gres: str) -> None:
    with pytest.raises(ConfigError, match=f"gres={gres} is not 2 GPUs, .*e.g. gres=gpu:2"):
        made(tmp_path, {"time": "1", "gres": gres}, num_devices=2)


@pytest.mark.usefixtures("bin_folder")
@pytest.mark.parametrize(("num_jobs", "array"), [(None, "0-2%3"), (2, "0-2%2")])
def test_jobs_are_one_array_with_what_was_asked_for(
    tmp_path: Path, num_jobs: int | None, array: str
) -> None:
    pytest.importorskip("submitit")
    executor = made(tmp_path, num_jobs=num_jobs)
    folders = [Submission(folder=tmp_path / str(n)) for n in range(3)]
    assert executor.submit(folders) == ["7_0", "7_1", "7_2"]
    script = (tmp_path / "batch.sh").read_text()
    for line in (
        "--partition=gpu",
        "--time=4:00:00",
        "--cpus-per-task=8",
        f"--array={array}",
        "--job-name=flowbench",
    ):
        assert f"#SBATCH {line}\n" in script
    assert "--cpus-per-task=8 " in script.partition("srun")[2]  # which steps do not inherit
    assert not list((tmp_path / "slurm").glob(".submission_file_*"))


def test_a_refusal_is_one_line(tmp_path: Path, bin_folder: Path) -> None:
    pytest.importorskip("submitit")
    said = "sbatch: error: invalid partition specified: none\nsbatch: error: Batch job failed"
    command(bin_folder, "sbatch", f'echo "{said}" >&2; exit 1')
    with pytest.raises(ExecutorError) as refused:
        made(tmp_path).submit([Submission(folder=tmp_path)])
    assert str(refused.value) == (
        "slurm refuses the jobs: invalid partition specified: none; Batch job failed"
    )


def test_what_is_not_in_the_queue_has_ended_once_it_was_asked(
    tmp_path: Path, bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["7_0|PENDING|Resources", "7_1|RUNNING|None", "7_2|FAILED|NonZeroExitCode"]
    lines += ["7_3|PREEMPTED|None", "7_4|PENDING|None"]
    command(bin_folder, "squeue", f"printf '%s\\n' {' '.join(f'{line!r}' for line in lines)}")
    executor = made(tmp_path)
    assert executor.status([f"7_{n}" for n in range(6)]) == {
        "7_0": JobState(phase="waiting", why="Resources"),
        "7_1": JobState(phase="running"),
        "7_2": JobState(phase="ended", why="FAILED"),
        "7_3": JobState(phase="running"),  # it may come back
        "7_4": JobState(phase="waiting"),
        "7_5": JobState(phase="ended"),
    }
    # Asked seconds ago; what was submitted since is not in that answer.
    assert executor.status(["8"]) == {}
    monkeypatch.setattr(slurm, "ASK_EVERY_S", 0.0)
    assert executor.status(["8"]) == {"8": JobState(phase="ended")}
    # A cluster that does not answer takes nothing back.
    command(bin_folder, "squeue", "echo slurm_load_jobs error >&2; exit 1")
    assert executor.status(["7_1", "8", "9"]) == {
        "7_1": JobState(phase="running"),
        "8": JobState(phase="ended"),
    }


def test_a_job_is_asked_or_ended_by_scancel(tmp_path: Path, bin_folder: Path) -> None:
    command(bin_folder, "scancel", f"echo $@ >> {tmp_path}/asked")
    executor = made(tmp_path)
    executor.cancel("7_0", gently=True)
    executor.cancel("7_0", gently=False)
    assert (tmp_path / "asked").read_text() == "--signal=TERM 7_0\n7_0\n"
    command(bin_folder, "scancel", "echo 'scancel: error: Invalid job id 7_0' >&2; exit 1")
    with pytest.raises(ExecutorError, match="does not cancel job 7_0: Invalid job id 7_0"):
        executor.cancel("7_0", gently=False)
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "7_0_0_log.out").write_text("srun: error: node failed")
    assert (executor.log("7_0"), executor.log("8")) == ("srun: error: node failed", "")


WORKER = """
import signal, sys, time
def save(*_):
    open(sys.argv[1] + "/saved", "w").close()
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
open(sys.argv[1] + "/began", "w").write(" ".join(sys.argv[2:]))
time.sleep({seconds})
"""


@pytest.fixture
def starting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], StartWorker]]:
    """Makes a start whose worker is a few lines; the handler of signals is put back."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "3")
    popen = subprocess.Popen

    def make(seconds: float) -> StartWorker:
        def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
            assert command[-4::3] == ["worker", "3"]
            code = WORKER.format(seconds=seconds)
            return popen([sys.executable, "-c", code, *command[-3:]], **options)

        monkeypatch.setattr(subprocess, "Popen", start)
        return StartWorker()

    yield make
    signal.signal(signal.SIGTERM, before)


def test_a_start_gives_the_exit_status_of_its_worker(
    tmp_path: Path, starting: Callable[[float], StartWorker]
) -> None:
    assert starting(0.0)(str(tmp_path)) == 0
    assert (tmp_path / "began").read_text() == "--threads 3"


def test_a_checkpoint_waits_until_the_worker_has_saved(
    tmp_path: Path,
    starting: Callable[[float], StartWorker],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("submitit")
    start = starting(60.0)

    def asked(*_: object) -> None:  # as submitit's handler does, within the call
        again.append(start.checkpoint(str(tmp_path)))
        assert (tmp_path / "saved").exists()

    again: list[Any] = []
    before = signal.signal(signal.SIGALRM, asked)
    waits = has_ended

    def soon(pid: int) -> bool:
        if (tmp_path / "began").exists():
            monkeypatch.setattr(slurm, "has_ended", waits)
            signal.raise_signal(signal.SIGALRM)
        return waits(pid)

    monkeypatch.setattr(slurm, "has_ended", soon)
    try:
        assert start(str(tmp_path)) == 75
    finally:
        signal.signal(signal.SIGALRM, before)
    (submission,) = again
    assert isinstance(submission.function, StartWorker)
    assert submission.args == (str(tmp_path),)
