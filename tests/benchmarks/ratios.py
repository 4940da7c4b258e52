"""What every benchmark gives: ratios against a named baseline, timed in turns within one process.

Seconds of one machine mean little on another, and little on the same one while others use it. A
ratio of two runs that take turns does: a slow moment hits both. A module ``bench_NAME`` has a
function ``main`` that takes the command line's arguments, prints what it measured and returns its
ratios; ``python -m tests.benchmarks.record NAME`` keeps them in ``history.csv``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
WARM_UP = 2  # rounds that do not count: fresh memory is slow to touch


@dataclass(frozen=True)
class Ratio:
    """How one thing compares with its baseline.

    Attributes:
        variant: What was divided by what, and at which sizes.
        median: Median of the rounds' ratios.
        low: Lower end of the median's 95 % interval over resampled rounds.
        high: Upper end of it.
        rounds: Number of rounds that count.
    """

    variant: str
    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, variant: str, numerators: ArrayLike, denominators: ArrayLike) -> Ratio:
        """The ratio of paired measurements, one pair a round."""
        values = np.asarray(numerators, dtype=float) / np.asarray(denominators, dtype=float)
        picks = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
        low, high = np.quantile(np.median(values[picks], axis=1), [0.025, 0.975])
        return cls(variant, float(np.median(values)), float(low), float(high), len(values))

    def __str__(self) -> str:
        interval = f"95 % interval {self.low:.3f} to {self.high:.3f}, n={self.rounds}"
        return f"{self.variant}: {self.median:.3f} ({interval})"


def take_turns(
    *runs: Callable[[], object],
    rounds: int,
    warm_up: int = WARM_UP,
    clock: Callable[[], float] | None = None,
) -> NDArray[np.float64]:
    """Times several runs in turns.

    Args:
        runs: What to time.
        rounds: How often each is timed.
        warm_up: Rounds before those, which do not count.
        clock: Seconds. By default the processor's on one thread, which other programs disturb
            less, and those on the wall on several.

    Returns:
        Seconds, of shape (number of runs, rounds).
    """
    if clock is None:
        import torch  # bench_boards imports this module where torch must not be

        clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    taken = [[seconds(run, clock) for run in runs] for _ in range(warm_up + rounds)]
    return np.array(taken[warm_up:]).T


def seconds(run: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Time of one call."""
    start = clock()
    run()
    return clock() - start


def argument_parser(doc: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """A command line with what every benchmark takes: ``--rounds`` and ``--threads``."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--threads", type=int, default=1)
    return parser
