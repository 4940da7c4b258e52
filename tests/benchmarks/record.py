"""Runs benchmarks and appends their ratios to ``history.csv``.

    python -m tests.benchmarks.record                                # all that need nothing else
    python -m tests.benchmarks.record glow_step loop                 # some of them
    python -m tests.benchmarks.record released -- glow --released PATH

What follows ``--`` goes to the one benchmark that is named. Each line of the history names the
commit, the machine and torch's version; ``+`` after a commit says that there were changes on top.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import torch

from flowbench.provenance import processor_name
from tests.benchmarks.ratios import Ratio

ROOT = Path(__file__).parents[2]
HISTORY = Path(__file__).with_name("history.csv")
COLUMNS = (
    "date", "commit", "processor", "cores", "threads", "torch",
    "benchmark", "variant", "median", "low", "high", "rounds",
)  # fmt: skip
NEED_RELEASED_CODE = frozenset(
    {"free_form", "matching", "multi_scale", "peers", "released", "tarflow_released"}
)


def names() -> list[str]:
    """Every benchmark there is."""
    return sorted(
        path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py")
    )


def append(benchmark: str, ratios: Sequence[Ratio], commit: str, history: Path) -> None:
    """Appends one line for each ratio; a new file gets a header first."""
    machine = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit,
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "benchmark": benchmark,
    }
    new = not history.exists()
    with history.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        for ratio in ratios:
            figures = {k: f"{getattr(ratio, k):.4f}" for k in ("median", "low", "high")}
            writer.writerow(
                {**machine, "variant": ratio.variant, **figures, "rounds": ratio.rounds}
            )


def _commit() -> str:
    changes = _git("status", "--porcelain", "--untracked-files=no", "--", ":!*history.csv")
    return _git("rev-parse", "--short=9", "HEAD") + ("+" if changes else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmarks that are named, or all that need no released code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmarks", nargs="*", metavar="BENCH", help=", ".join(names()))
    parser.add_argument("--history", type=Path, default=HISTORY)
    given = sys.argv[1:] if arguments is None else list(arguments)
    cut = given.index("--") if "--" in given else len(given)
    passed_on = given[cut + 1 :]
    options = parser.parse_args(given[:cut])
    unknown = sorted(set(options.benchmarks) - set(names()))
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]!r}; expected one of {', '.join(names())}")
    if passed_on and len(options.benchmarks) != 1:
        parser.error("arguments after -- go to one benchmark; name exactly one")
    commit = _commit()
    for name in options.benchmarks or [n for n in names() if n not in NEED_RELEASED_CODE]:
        print(f"== {name}", flush=True)
        ratios = import_module(f"tests.benchmarks.bench_{name}").main(passed_on)
        append(name, ratios, commit, options.history)


if __name__ == "__main__":
    main()
