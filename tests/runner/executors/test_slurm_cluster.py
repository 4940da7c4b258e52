"""Jobs on a real SLURM: preempted, cancelled, left by their run and their node's daemon."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from flowbench.runner.attempt import MODEL, AttemptDir, ResultsDir
from tests.runner.executors.cluster import (
    MISSING,
    SWEEP,
    Slurm,
    assert_swept,
    trials_handed_over,
    wait_for,
)

pytest.importorskip("submitit")
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"without {', '.join(MISSING)} (Debian's slurm-wlm)"),
]
LONG_S = 400.0  # far more than it takes
FAKES = Path(__file__).parents[2] / "fakes.py"
ASKED = (
    "run",
    "--models",
    "fake-slow",
    "--datasets",
    "fake-images",
    "--budget",
    "200steps",
    "--metrics",
    "fake_nll",
)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    cluster = Slurm(tmp_path_factory.mktemp("slurm"))
    yield cluster
    cluster.close()


def flowbench(slurm: Slurm, results: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "flowbench.cli.app", *arguments, "--results", str(results)]
    if arguments[0] == "run":
        command += ["--plugin-file", str(FAKES), "--no-plugin", "flowbench", "--data-dir", "none"]
    return subprocess.Popen(
        command,
        env=slurm.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> str:
    text, _ = process.communicate(timeout=LONG_S)
    return text


def attempts(results: Path) -> list[AttemptDir]:
    """The latest attempt at each job, by seed."""
    found = ResultsDir(results)
    jobs = [path.name for path in found.runs.iterdir() if not path.name.startswith(".")]
    latest = [found.attempts(job)[-1] for job in jobs]
    return sorted(latest, key=lambda attempt: attempt.order().job.seed)


def step(attempt: AttemptDir) -> int:
    heartbeat = attempt.heartbeat()
    return 0 if heartbeat is None or attempt.ended else heartbeat.step


def all_at(results: Path, number: int, least: int) -> bool:
    found = attempts(results)
    return bool(found) and all(a.number == number and step(a) >= least for a in found)


def test_jobs_outlive_preemption_their_run_and_the_daemon_of_their_node(
    slurm: Slurm, tmp_path: Path
) -> None:
    results, alone = tmp_path / "results", tmp_path / "alone"
    asked = (*ASKED, "--seeds", "0-1")
    on_slurm = ("--executor", "slurm", "--slurm", "partition=low,time=10,gres=gpu:1")
    run = flowbench(slurm, results, *asked, *on_slurm)
    wait_for(lambda: (results / "runs").exists() and all_at(results, 1, 20), LONG_S)
    first = attempts(results)
    assert len(first) == 2
    # What goes first takes their places; meanwhile their run is killed, and nobody watches.
    run.kill()
    run.communicate()
    slurm.ask("sbatch", "-p", "high", "-n", "2", "-o", "/dev/null", "--wrap", "sleep 1")
    wait_for(lambda: all(a.ended for a in first), LONG_S)
    again = flowbench(slurm, results, *asked, *on_slurm)
    pair = [a.path.parent for a in first]
    wait_for(lambda: all((job / "2" / "heartbeat.json").exists() for job in pair), LONG_S)
    slurm.kill("slurmd")
    slurm.start("slurmd")
    text = said(again)
    assert again.returncode == 0, text
    records = [AttemptDir(job / "2").record() for job in pair]
    assert [r.status for r in records if r] == ["ok", "ok"]
    assert [r.status for r in (a.record() for a in first) if r] == ["preempted", "preempted"]
    assert [r.provenance["executor"] for r in records if r] == [
        "slurm gres=gpu:1 partition=low time=10"
    ] * 2
    # Submitted once, as one array; and what is done is not submitted again.
    reused = flowbench(slurm, results, *asked, *on_slurm)
    assert "2 reused" in said(reused)
    assert len(list((results / "executors" / "slurm").glob("*_submission.sh"))) == 1
    # The same as without all that, to the last bit.
    straight = flowbench(slurm, alone, *asked)
    text = said(straight)
    assert straight.returncode == 0, text
    for interrupted, other in zip(pair, attempts(alone), strict=True):
        weights = [_weights(path) for path in (interrupted / "2", other.path)]
        assert weights[0].keys() == weights[1].keys()
        assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])


def _weights(attempt: Path) -> dict[str, Any]:
    return dict(torch.load(attempt / MODEL, weights_only=False)["model"])


def test_a_job_that_is_short_of_time_saves_and_goes_on(slurm: Slurm, tmp_path: Path) -> None:
    on_slurm = ("--executor", "slurm", "--slurm", "partition=low,time=10")
    run = flowbench(slurm, tmp_path, *ASKED, *on_slurm)
    wait_for(lambda: (tmp_path / "runs").exists() and all_at(tmp_path, 1, 20), LONG_S)
    (first,) = attempts(tmp_path)
    # What SLURM sends at the end of its time, to all that the job has started.
    slurm.ask("scancel", "--signal=USR2", slurm.ask("squeue", "-h", "-o", "%i").strip())
    text = said(run)
    assert run.returncode == 0, text
    before, after = first.record(), attempts(tmp_path)[0].record()
    assert before is not None
    assert after is not None
    assert (before.status, before.reason) == ("preempted", "asked to stop")
    assert (after.status, after.number, after.steps) == ("ok", 2, 200)


def test_a_job_is_taken_from_the_queue_by_whoever_sees_the_folder(
    slurm: Slurm, tmp_path: Path
) -> None:
    later = ("--executor", "slurm", "--slurm", "partition=low,time=10,begin=now+1hour", "--no-wait")
    text = said(flowbench(slurm, tmp_path, *ASKED, *later))
    assert "left out: fake-slow:images on fake-images, seed 0: in the queue as slurm job" in text
    (shown,) = json.loads(said(flowbench(slurm, tmp_path, "status", "--json")))
    assert (shown["gone"], shown["placed"].split()[:2]) == (False, ["slurm", "job"])
    assert "taken from the queue of slurm" in said(
        flowbench(slurm, tmp_path, "cancel", shown["job_id"])
    )
    assert not slurm.ask("squeue", "-h")
    # The next run finds it so, and submits it anew.
    said(flowbench(slurm, tmp_path, *ASKED, *later))
    (again,) = attempts(tmp_path)
    before = AttemptDir(again.path.parent / "1").record()
    assert before is not None
    assert (before.status, before.reason) == ("preempted", "cancelled by flowbench cancel")
    assert again.number == 2


def test_what_slurm_refuses_is_one_line(slurm: Slurm, tmp_path: Path) -> None:
    on_slurm = ("--executor", "slurm", "--slurm", "partition=none,time=10")
    run = flowbench(slurm, tmp_path, *ASKED, *on_slurm)
    errors = [line for line in said(run).splitlines() if "error" in line]
    assert run.returncode == 1
    assert len(errors) == 1
    assert errors[0].startswith("error: slurm refuses the jobs: invalid partition specified: none")
    assert not [path for path in (tmp_path / "runs").glob("*/1")]


def test_a_sweep_goes_on_after_its_run_was_killed(slurm: Slurm, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    on_slurm = ("--executor", "slurm", "--slurm", "partition=low,time=10")
    run = flowbench(slurm, tmp_path, *SWEEP, *on_slurm)
    wait_for(lambda: trials_handed_over(tmp_path) == 4, LONG_S)
    run.kill()
    run.communicate()
    again = flowbench(slurm, tmp_path, *SWEEP, *on_slurm)
    text = said(again)
    assert again.returncode == 0, text
    assert_swept(tmp_path, text)
