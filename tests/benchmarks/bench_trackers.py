"""What a tracker costs a job: processor seconds in its hooks, over those of the job's budget.

    python -m tests.benchmarks.bench_trackers --budget 60

A tracker lives in the process of the run, where it is told of a job's start, of its looks at
validation and of its end. Measured are the seconds of that process and of those that the tracker
starts, for as many looks as a training has; apart from them what it takes to begin, once a run,
while workers start. Each round is a process of its own.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np

from tests.benchmarks.ratios import Ratio, argument_parser

MODULE = "tests.benchmarks.bench_trackers"
TRACKERS = ("tensorboard", "wandb")


def tell(name: str, results: Path) -> tuple[float, float]:
    """Tells a tracker of a job.

    Returns:
        Processor seconds that it took to begin, and for the job, with all that it started.
    """
    import torch  # as the process of a run has it

    from flowbench.registry import PluginSelection, load_registry
    from flowbench.runner.attempt import AttemptDir, Heartbeat
    from flowbench.runner.tracking import make_trackers, tracked
    from flowbench.store.attempt_files import CURVES
    from flowbench.training.looks import VALIDATE_AT
    from tests.store import attempts as make

    del torch
    registry = load_registry(PluginSelection(only=("flowbench:models",)))
    points = [point.model_dump_json() for point in make.curve(2.0, points=len(VALIDATE_AT))]
    record = make.attempt(measurements=make.measurements(2.5))
    attempt = AttemptDir(make.write(results, record))
    job: Any = SimpleNamespace(row=record.job, label="realnvp on digits, seed 0")
    before = _spent()
    managers = make_trackers(registry, [name], results)
    managers[name].hook.run_started(jobs=[])
    begun = _spent()
    with tracked(MagicMock(), managers, [job]) as observer:
        observer.started(job, attempt, 1)
        for number in range(len(points)):
            attempt.write(CURVES, "\n".join([*points[: number + 1], ""]))
            observer.beat(job, Heartbeat(pid=1))
        observer.ended(job, record)
    if name == "wandb":
        import wandb

        wandb.teardown()  # waits for what it started
    return begun - before, _spent() - begun


def _spent() -> float:
    """Processor seconds of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _apart(name: str) -> tuple[float, float]:
    """The same in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", MODULE, "--tell", name, folder]
        env = os.environ | {"WANDB_MODE": "offline"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
    begin, job = map(float, done.stdout.splitlines()[-1].split())
    return begin, job


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Measures each tracker, and prints what part of a job's budget it takes."""
    parser = argument_parser(__doc__, rounds=5)
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of a job")
    parser.add_argument("--trackers", nargs="+", default=TRACKERS, choices=TRACKERS)
    parser.add_argument("--tell", nargs=2, metavar=("TRACKER", "FOLDER"), help="one round")
    options = parser.parse_args(arguments)
    if options.tell:
        print(*tell(options.tell[0], Path(options.tell[1])))
        return []
    ratios = []
    for name in options.trackers:
        rounds = np.array([_apart(name) for _ in range(options.rounds)])
        for part, taken in zip(("a job", "to begin, once a run"), rounds.T[::-1], strict=True):
            variant = f"{name}, {part} / {options.budget:g} s"
            ratios.append(Ratio.of(variant, taken, np.full_like(taken, options.budget)))
            print(f"{ratios[-1].variant}: {100 * ratios[-1].median:.2f} %")
    return ratios


if __name__ == "__main__":
    main()
