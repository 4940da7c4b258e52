from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowbench.errors import DataMissingError
from flowbench.registry import PluginSelection, Registry
from flowbench.runner.attempt import ResultsDir
from flowbench.runner.decide import Decision, Machine
from flowbench.runner.estimate import estimate
from flowbench.runner.executors.local import LocalExecutor
from flowbench.runner.options import RunOptions
from flowbench.runner.placed import Placed
from flowbench.runner.plan import Unprepared, plan
from flowbench.runner.run import ReadyRun
from flowbench.store.records import AttemptRow
from flowbench.suite.schema import Suite

HERE = Machine(device_kind="cpu", device_name="here", num_threads=2)
UNKNOWN = "evaluation: time unknown before the first look, as none of this ran here before"


def ready_run(
    registry: Registry,
    budget: str,
    *actions: Any,
    device: str = "cpu",
    missing: int = 0,
    results: Path = Path("none"),
) -> ReadyRun:
    suite = Suite(models=("fake-gaussian",), datasets=("fake-images",), budget=budget)
    (job,), _ = plan(suite, registry, Path())
    far = Unprepared(
        dataset="far",
        models=("a", "b"),
        num_seeds=missing,
        budget=budget,
        error=DataMissingError("dataset 'far' is not prepared"),
    )
    return ReadyRun(
        decisions=[(job, Decision(action=action, why="")) for action in actions],
        results=ResultsDir(results),
        executor=LocalExecutor("cpu", (), 1),
        options=RunOptions(
            device=device, data_dir=Path(), plugins=PluginSelection(), timeout_s=1.0, command=()
        ),
        machine=HERE,
        rerun=None,
        unprepared=[far] if missing else [],
        placed=Placed(registry, ResultsDir(results)),
    )


def test_a_budget_of_time_bounds_the_training(fake_registry: Registry) -> None:
    run = ready_run(fake_registry, "30min", "run", "resume", "reuse", "evaluate", "skip")
    assert estimate(run).splitlines() == [
        "2 to train, 1 to evaluate, 1 cached, 1 left",
        "training: at most 1 device-hours; looks at validation add about a tenth",
        UNKNOWN,
    ]


@pytest.mark.parametrize(
    ("budget", "device", "text"),
    [
        ("2gpuh", "cuda", "at most 2 GPU-hours"),
        ("2gpuh", "cpu", "at most 2 GPU-hours"),
        ("60s", "cuda", "at most 0.0167 GPU-hours"),
        ("60s,5000steps", "cpu", "at most 0.0167 device-hours"),
        (
            "5000steps",
            "cpu",
            "training: time unknown, since the budget 5000steps does not limit it",
        ),
    ],
)
def test_estimates_say_what_they_know(
    fake_registry: Registry, budget: str, device: str, text: str
) -> None:
    assert text in estimate(ready_run(fake_registry, budget, "run", device=device))


def test_jobs_that_wait_for_data_are_counted_apart(fake_registry: Registry) -> None:
    text = estimate(ready_run(fake_registry, "1h", "reuse", missing=3))
    assert text.splitlines() == [
        "1 cached",
        "6 more wait for data or a package",
        "training: at most 6 device-hours; looks at validation add about a tenth",
    ]


def ran(registry: Registry, results: Path, evaluation_s: float, **fields: Any) -> None:
    """Leaves an attempt of a run with other seeds and another budget."""
    protocol = {"eval_draws": fields.pop("eval_draws", 16)}
    asked = {"models": ("fake-gaussian",), "datasets": ("fake-images",), "protocol": protocol}
    seeds = (fields.pop("seed", 1),)
    (job,) = plan(Suite(**asked, seeds=seeds, budget="7s"), registry, Path())[0]
    directory = ResultsDir(results).new_attempt(job.row.job_id)
    row = AttemptRow(
        attempt_id=f"{job.row.job_id}-{directory.number}",
        number=directory.number,
        job=job.row,
        started="",
        ended="",
        ledger={"train": 7.0, "eval": evaluation_s + 0.5},
        **{
            "status": "ok",
            "device_kind": "cpu",
            "device_name": "here",
            "num_threads": 2,
            "looks": {"seconds": 0.5},
            **fields,
        },
    )
    directory.write_record(row)


def test_earlier_runs_here_say_what_evaluation_takes(
    fake_registry: Registry, tmp_path: Path
) -> None:
    for seed, seconds in enumerate((100.0, 300.0, 9000.0)):
        ran(fake_registry, tmp_path, seconds, seed=seed)
    run = ready_run(fake_registry, "30min", "run", "evaluate", results=tmp_path)
    assert estimate(run).splitlines()[2] == (
        "evaluation: about 10 min in all, by earlier runs here"
    )


@pytest.mark.parametrize(
    "other",
    [
        {"status": "crashed"},
        {"device_name": "there"},
        {"num_threads": 1},
        {"eval_draws": 1},
        {"looks": None},  # which took an unknown part of it
    ],
)
def test_other_runs_say_nothing_of_it(
    fake_registry: Registry, tmp_path: Path, other: dict[str, Any]
) -> None:
    ran(fake_registry, tmp_path, 100.0, **other)
    run = ready_run(fake_registry, "30min", "run", results=tmp_path)
    assert estimate(run).splitlines()[2] == UNKNOWN


def test_jobs_without_an_earlier_run_are_counted(fake_registry: Registry, tmp_path: Path) -> None:
    ran(fake_registry, tmp_path, 100.0)
    run = ready_run(fake_registry, "30min", "run", results=tmp_path)
    (other,) = plan(
        Suite(models=("fake-gaussian:averaged",), datasets=("fake-images",)), fake_registry, Path()
    )[0]
    run.decisions.append((other, Decision(action="run", why="")))
    assert estimate(run).splitlines()[2] == (
        "evaluation: about 100 s in all, by earlier runs here; 1 of 2 jobs never ran here"
    )


def test_earlier_runs_say_how_long_so_many_steps_take(
    fake_registry: Registry, tmp_path: Path
) -> None:
    for seed, charged_s in enumerate((5.0, 10.0, 900.0)):
        ran(fake_registry, tmp_path, 1.0, seed=seed, steps=1000, charged_s=charged_s)
    run = ready_run(fake_registry, "3000steps", "run", "run", results=tmp_path)
    assert estimate(run).splitlines()[1] == (
        "training: about 60 s in all, by the pace of earlier runs here"
    )
    (other,) = plan(
        Suite(models=("fake-gaussian:averaged",), datasets=("fake-images",), budget="9steps"),
        fake_registry,
        Path(),
    )[0]
    run.decisions.append((other, Decision(action="run", why="")))
    assert estimate(run).splitlines()[1].endswith("here; 1 of 3 jobs never ran here")
