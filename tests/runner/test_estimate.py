from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowbench.errors import DataMissingError
from flowbench.registry import PluginSelection, Registry
from flowbench.runner.attempt import ResultsDir
from flowbench.runner.decide import Decision
from flowbench.runner.estimate import estimate
from flowbench.runner.executors.local import LocalExecutor
from flowbench.runner.plan import Unprepared, plan
from flowbench.runner.run import ReadyRun
from flowbench.runner.schedule import RunOptions
from flowbench.suite.schema import Suite


def ready_run(
    registry: Registry, budget: str, *actions: Any, device: str = "cpu", missing: int = 0
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
        results=ResultsDir(Path()),
        executor=LocalExecutor("cpu", (), 1),
        options=RunOptions(
            device=device, data_dir=Path(), plugins=PluginSelection(), timeout_s=1.0, command=()
        ),
        unprepared=[far] if missing else [],
    )


def test_a_budget_of_time_bounds_the_training(fake_registry: Registry) -> None:
    run = ready_run(fake_registry, "30min", "run", "resume", "reuse", "evaluate", "skip")
    assert estimate(run) == (
        "2 to train, 1 to evaluate, 1 cached, 1 left; "
        "at most 1 device-hours of training (looks at validation come on top, about a tenth "
        "of it, and evaluation)"
    )


@pytest.mark.parametrize(
    ("budget", "device", "text"),
    [
        ("2gpuh", "cuda", "at most 2 GPU-hours"),
        ("2gpuh", "cpu", "at most 2 GPU-hours"),
        ("60s", "cuda", "at most 0.0167 GPU-hours"),
        ("60s,5000steps", "cpu", "at most 0.0167 device-hours"),
        ("5000steps", "cpu", "training time unknown, since the budget 5000steps does not limit it"),
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
        "6 more wait for their data; at most 6 device-hours of training (looks at validation come "
        "on top, about a tenth of it, and evaluation)",
    ]
