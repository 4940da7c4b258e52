"""What the executor of Ray refuses, and jobs on a real cluster of which a node is lost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowbench.api.executors import ExecutorSettings
from flowbench.errors import ConfigError, ExecutorError
from flowbench.runner.attempt import AttemptDir, ResultsDir
from flowbench.runner.executors import ray
from flowbench.runner.executors.ray import RayExecutor
from tests.runner.executors.cluster import SWEEP, assert_swept, trials_handed_over, wait_for

LONG_S = 400.0  # far more than it takes
FAKES = Path(__file__).parents[2] / "fakes.py"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"options": {"gpus": "1"}}, "unknown option gpus; expected address, .*num_gpus"),
        ({"options": {"num_gpus": "two"}}, "num_gpus is 'two'; expected a number, e.g. num_gpus=1"),
        ({"options": {"num_cpus": "-1"}}, "num_cpus is '-1'"),
        ({"options": {"memory": "nan"}}, "memory is 'nan'"),
        ({"num_jobs": 3}, "leave --jobs out"),
        ({"num_devices": 4, "options": {"num_gpus": "1"}}, "num_gpus=1 is not 4, as --devices-per"),
    ],
)
def test_what_cannot_be_asked_of_ray_is_one_line(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"executor ray.*{message}"):
        RayExecutor(ExecutorSettings(folder=tmp_path, **settings))


@pytest.mark.parametrize(
    ("device", "options", "asked"),
    [
        ("auto", {}, {"num_gpus": 4}),
        ("cuda", {"num_cpus": "8"}, {"num_cpus": 8.0, "num_gpus": 4}),
        ("cpu", {}, {"num_cpus": 4}),
    ],
)
def test_a_job_asks_for_as_many_devices_as_it_has(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    options: dict[str, str],
    asked: dict[str, float],
) -> None:
    monkeypatch.setattr(ray, "_connected", lambda address: None)
    settings = ExecutorSettings(folder=tmp_path, device=device, options=options, num_devices=4)
    assert RayExecutor(settings)._asked_for == asked


def test_without_ray_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ExecutorError, match=r"needs ray; pip install 'flowbench\[ray\]'"):
        RayExecutor(ExecutorSettings(folder=tmp_path))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that runs no jobs; nodes are added as they are needed."""
    utils = pytest.importorskip("ray.cluster_utils")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_worker_niceness", "0")  # 15 by default: the last of a busy machine
        patched.setenv("FLOWBENCH_IMPORT_LIMIT", "600")
        found = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        yield found
        found.shutdown()


def start(
    cluster: Any, results: Path, *arguments: str, budget: str = "200steps"
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "flowbench.cli.app", *arguments, "--results", str(results)]
    if arguments[0] == "run":
        if "--models" not in arguments:
            command += ["--models", "fake-slow", "--datasets", "fake-images", "--budget", budget]
            command += ["--metrics", "fake_nll"]
        command += ["--executor", "ray"]
        command += ["--on", f"address={cluster.address}"]
        command += ["--plugin-file", str(FAKES), "--no-plugin", "flowbench", "--data-dir", "none"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def said(process: subprocess.Popen[str]) -> str:
    text, _ = process.communicate(timeout=LONG_S)
    return text


def last(results: Path) -> AttemptDir:
    found = ResultsDir(results)
    (job,) = (path.name for path in found.runs.iterdir() if not path.name.startswith("."))
    return found.attempts(job)[-1]


def trains(results: Path) -> bool:
    found = (AttemptDir(path).heartbeat() for path in (results / "runs").glob("*/[0-9]*"))
    return any(heartbeat is not None and heartbeat.step > 5 for heartbeat in found)


@pytest.mark.cluster
@pytest.mark.slow
def test_a_job_whose_node_is_lost_goes_on_elsewhere(cluster: Any, tmp_path: Path) -> None:
    submitted = said(start(cluster, tmp_path, "run", "--no-wait"))
    assert "in the queue as ray job" in submitted, submitted
    node = cluster.add_node(num_cpus=1)
    wait_for(lambda: trains(tmp_path), LONG_S)
    follows = start(cluster, tmp_path, "run")
    cluster.add_node(num_cpus=1)
    cluster.remove_node(node)
    text = said(follows)
    assert follows.returncode == 0, text
    assert "1 queued" in text
    attempt = last(tmp_path)
    record = attempt.record()
    assert record is not None
    assert (record.status, record.steps) == ("ok", 200)
    assert attempt.number > 1
    assert attempt.order().resume is not None
    # Reused, and given to nobody.
    assert "1 reused" in said(start(cluster, tmp_path, "run"))


@pytest.mark.cluster
@pytest.mark.slow
def test_a_job_is_taken_from_the_queue_or_saves_and_ends(cluster: Any, tmp_path: Path) -> None:
    cluster.add_node(num_cpus=1)
    begun = start(cluster, tmp_path, "run", budget="5000steps")
    wait_for(lambda: trains(tmp_path), LONG_S)
    job = last(tmp_path).path.parent.name
    assert "asked to save and stop" in said(start(cluster, tmp_path, "cancel", job))
    text = said(begun)
    record = last(tmp_path).record()
    assert record is not None, text
    assert record.status == "preempted"
    assert 0 < record.steps < 5000


@pytest.mark.cluster
@pytest.mark.slow
def test_a_sweep_goes_on_after_its_run_was_killed(cluster: Any, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    cluster.add_node(num_cpus=2)
    run = start(cluster, tmp_path, *SWEEP)
    wait_for(lambda: trials_handed_over(tmp_path) == 4, LONG_S)
    run.kill()
    run.communicate()
    again = start(cluster, tmp_path, *SWEEP)
    text = said(again)
    assert again.returncode == 0, text
    assert_swept(tmp_path, text)


@pytest.mark.cluster
@pytest.mark.slow
def test_where_there_is_no_cluster_one_line_says_so(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    command = [sys.executable, "-m", "flowbench.cli.app", "run", "--models", "nice", "--datasets"]
    command += ["two-moons", "--executor", "ray", "--on", "address=127.0.0.1:1", "--budget", "1s"]
    done = subprocess.run(
        [*command, "--results", str(tmp_path)], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: executor ray: no cluster at address '127.0.0.1:1'")
