"""What many jobs do to the file system, the store and the boards.

    python -m tests.benchmarks.bench_scale --attempts 50000

Writes attempt directories as workers leave them, without samples, and hands jobs to an executor
that only sleeps. Prints for each step seconds on the wall and of the CPU and the most memory that
it took, each step in a process of its own. The baseline is to read all records with the standard
library's json. `docs/concepts/scale.md` holds what it printed.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import bench_boards
from tests.benchmarks.ratios import Ratio

MODULE = "tests.benchmarks.bench_scale"
BASELINE = "read the records as JSON"
MODELS, SEEDS = 20, 5  # on a board each
TESTS = Path(__file__).parents[1]


def make(folder: Path, attempts: int) -> None:
    """Writes attempts at one job each, of which only names, seeds and budgets differ."""
    from tests.store import attempts as make

    template = make.attempt(make.job("glow", 0))
    for index in range(attempts):
        board, place = divmod(index, MODELS * SEEDS)
        model, seed = divmod(place, SEEDS)
        job = template.job.model_copy(
            update={
                "job_id": f"m{model}-mnist-s{seed}-{index:012x}",
                "model": f"m{model}",
                "seed": seed,
                "budget": f"{board + 1}steps",
            }
        )
        record = template.model_copy(update={"job": job, "attempt_id": f"{job.job_id}-1"})
        attempt = folder / "runs" / job.job_id / "1"
        attempt.mkdir(parents=True)
        (attempt / "record.json").write_text(record.model_dump_json(), encoding="utf-8")


def read(folder: Path) -> None:
    """Reads every record, as a baseline."""
    bench_boards.read(folder)


def bring(folder: Path) -> None:
    """Brings all attempts into the database."""
    from flowbench.store.reconcile import reconcile

    reconcile(folder)
    print(f"database: {(folder / 'flowbench.duckdb').stat().st_size / 2**20:.1f} MiB", end="")


def listed(folder: Path) -> None:
    """Lists the last attempts, as the command line does."""
    sys.argv = ["flowbench", "results", "list", "--limit", "5", "--results", str(folder)]
    from flowbench.cli.app import main

    main()


def draw(folder: Path, out: Path) -> None:
    """Writes all boards as text."""
    from flowbench.leaderboard import boards, write_boards

    found = boards(folder)
    write_boards(found, out, ["md", "csv"])
    print(f"{len(found)} boards", end="")


def submit(folder: Path, jobs: int) -> None:
    """Gives jobs to an executor that only keeps them, as `run --no-wait` does."""
    from flowbench.registry import PluginSelection, load_registry
    from flowbench.runner.run import RunRequest, get_ready
    from flowbench.suite.schema import Suite
    from tests.runner.test_schedule import Quiet

    doors = (TESTS / "fakes.py", TESTS / "runner" / "queues.py")
    plugins = PluginSelection(exclude=("flowbench",), files=doors)
    suite = Suite(
        models=("fake-gaussian",),
        datasets=("fake-images",),
        seeds=tuple(range(jobs)),
        budget="20steps",
    )
    start = time.perf_counter()
    ready = get_ready(
        RunRequest(
            suites=(suite,),
            results=folder,
            data_dir=folder,
            plugins=plugins,
            device="cpu",
            num_jobs=None,
            executor="fake-queue",
            rerun=None,
            timeout_s=600.0,
            command=("flowbench", "run"),
            wait=False,
        ),
        load_registry(plugins),
    )
    planned = time.perf_counter()
    ready.scheduler(Quiet()).run(ready.decisions)
    handed = time.perf_counter()
    print(f"planned in {planned - start:.1f} s, handed over in {handed - planned:.1f} s", end="")


def step(title: str, call: str) -> float:
    """Runs one step, which prints the most memory that it took behind what it says itself."""
    peak = "print(f'; at most {b.peak_mib():.0f} MiB', end='')"
    return bench_boards.step(title, f"import {MODULE} as b; b.{call}; {peak}")


def peak_mib() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def round_of(attempts: int, jobs: int) -> dict[str, float]:
    """CPU seconds of each step, by its title."""
    with tempfile.TemporaryDirectory() as top:
        store, out, queue = (f"Path({str(Path(top) / name)!r})" for name in ("store", "out", "q"))
        calls = {
            "write": f"make({store}, {attempts})",
            BASELINE: f"read({store})",
            "reconcile": f"bring({store})",
            "reconcile again": f"bring({store})",
            "list the last 5": f"listed({store})",
            "boards as text": f"draw({store}, {out})",
            f"submit {jobs} jobs": f"submit({queue}, {jobs})",
        }
        return {title: step(title, call) for title, call in calls.items()}


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Prints one line a step, then what each costs beside the baseline."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--attempts", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args(arguments)
    rounds = [round_of(options.attempts, options.jobs) for _ in range(options.rounds)]
    ratios = [
        Ratio.of(
            f"{title} / {BASELINE} ({options.attempts} attempts)",
            [taken[title] for taken in rounds],
            [taken[BASELINE] for taken in rounds],
        )
        for title in rounds[0]
        if title != BASELINE
    ]
    print(*ratios, sep="\n")
    return ratios


if __name__ == "__main__":
    main()
