"""How long boards take from a large store.

    python -m tests.benchmarks.bench_boards --attempts 10000

Makes attempts with twenty measurements each, ingests them, and renders every suite's board and
the boards of all results in every format, each step in a process of its own. Prints seconds,
on the wall and of the CPU, and whether torch was imported. The baseline is to read all records
with the standard library's json and do nothing with them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.ratios import Ratio

ROOT = Path(__file__).parents[2]
MODULE = "tests.benchmarks.bench_boards"  # also where this file runs as a program
PAIRS = (
    ("glow", "512ch", "cifar10"), ("realnvp", "cifar10", "cifar10"),
    ("denseflow", "74-10", "cifar10"), ("denseflow", "74-10-imagenet32", "imagenet32"),
    ("glow", "imagenet32", "imagenet32"), ("nanoflow", "k48", "cifar10"),
)  # fmt: skip
EXTRA_VALUES = 14  # beside those that every run has, to make twenty a run
BUDGETS = 25
BASELINE = "read the records as JSON"


def make(folder: Path, attempts: int) -> None:
    """Writes attempt directories: few models of many seeds, and sweeps of many configurations."""
    from tests.store import attempts as make

    for index in range(attempts):
        model, preset, dataset = PAIRS[index % len(PAIRS)]
        sweep, seed = divmod(index // len(PAIRS), 5)
        job = make.job(
            model, seed, preset=preset, dataset=dataset, budget=f"{60 * (1 + sweep % BUDGETS)}s",
            config={"width": 8 + sweep // BUDGETS}, overrides={"width": 8} if sweep % 2 else {},
        )  # fmt: skip
        bpd = 3.0 + 0.01 * (index % 97)
        extra = tuple(make.measured(f"extra_{i}", bpd + i, "") for i in range(EXTRA_VALUES))
        measured = make.measured("bpd", bpd, "bits/dim", n=10_000, protocol=make.UNIFORM_BOUND)
        record = make.attempt(job, measurements=(measured, *make.measurements(bpd)[3:], *extra))
        make.write(folder, record, curves=make.curve(bpd))


def read(folder: Path) -> None:
    """Reads every record, as a baseline."""
    for path in folder.glob("runs/*/*/record.json"):
        json.loads(path.read_bytes())


def load(folder: Path) -> None:
    """Ingests what was written."""
    from flowbench.store.attempt_files import attempt_dirs
    from flowbench.store.ingest import ingest

    ingest(folder, attempt_dirs(folder))


def render(folder: Path, out: Path, formats: list[str], *, suites: bool) -> None:
    """Renders boards as the command line does."""
    from flowbench.leaderboard import boards, suite_boards, write_boards
    from flowbench.suite.find import shipped_suites
    from flowbench.suite.load import load_suite

    details = "html" in formats
    if suites:
        chosen = [load_suite(path) for path in shipped_suites().values()]
        found = suite_boards(folder, chosen, with_details=details, skip_empty=True)
    else:
        found = boards(folder, with_details=details)
    written = write_boards(found, out, formats)
    size = sum(path.stat().st_size for path in written) / 2**20
    rows = sum(len(list(board.rows)) for board in found)
    print(f"{len(found)} boards, {rows} rows, {size:.1f} MiB, torch: {'torch' in sys.modules}")


def step(title: str, code: str) -> float:
    """Runs one step in a fresh process, prints how long it took, and returns its CPU seconds."""
    start, used = time.perf_counter(), _children_s()
    command = [sys.executable, "-c", f"import {MODULE} as b; from pathlib import Path; {code}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    last_line = done.stdout.strip().splitlines()[-1:]  # DuckDB may draw a progress bar before it
    wall_s, cpu_s = time.perf_counter() - start, _children_s() - used
    print(f"{wall_s:7.2f} s wall {cpu_s:7.2f} s CPU  {title}", *last_line, flush=True)
    return cpu_s


def _children_s() -> float:
    """CPU seconds of all finished steps."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def round_of(attempts: int) -> dict[str, float]:
    """CPU seconds of each step, by its title."""
    taken: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        store, out = Path(folder) / "results", Path(folder) / "out"
        step(f"write {attempts} attempts", f"b.make(Path({str(store)!r}), {attempts})")
        taken[BASELINE] = step(BASELINE, f"b.read(Path({str(store)!r}))")
        taken["ingest"] = step("ingest", f"b.load(Path({str(store)!r}))")
        for formats in (["md", "csv", "latex", "parquet"], ["html"]):
            for suites in (True, False):
                title = f"render {'suites' if suites else 'all results'} as {', '.join(formats)}"
                arguments = f"Path({str(store)!r}), Path({str(out)!r}), {formats!r}"
                taken[title] = step(title, f"b.render({arguments}, suites={suites})")
    return taken


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Prints one line a step, then what each costs beside the baseline."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--attempts", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args(arguments)
    rounds = [round_of(options.attempts) for _ in range(options.rounds)]
    baseline = [taken[BASELINE] for taken in rounds]
    ratios = [
        Ratio.of(
            f"{title} / {BASELINE} ({options.attempts} attempts)",
            [taken[title] for taken in rounds],
            baseline,
        )
        for title in rounds[0]
        if title != BASELINE
    ]
    print(*ratios, sep="\n")
    return ratios


if __name__ == "__main__":
    main()
