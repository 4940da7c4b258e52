"""Batches per second of `TrainBatches` against indexing a plain tensor.

Both hand over the same batches (values and labels) of the same random images, in turns within one
process: ours resident in memory, and out of a memory-mapped file. The baselines are ``x[rows]`` and
``x.index_select(0, rows)``, the fastest there is, on a tensor in the same kind of memory (its own
copy, or the same mapped file), with a new permutation each epoch.
The figures are medians of the pairwise ratios (baseline time / our time, so 1.0 means that the
stream costs nothing). Before timing, the page cache is warm. The last line is the verdict, on the
smaller of the figures against ``x[rows]``.

    python tests/benchmarks/bench_batches.py --shape 3x32x32 --batch-size 64
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowbench.api import Split
from flowbench.data import batches
from flowbench.data.batches import TrainBatches

Next = Callable[[], object]
LEAST = 0.9  # of the speed of a plain index


def plain_index(x: Tensor, labels: Tensor, batch_size: int, select: bool) -> Next:
    """Batches by plain indexing, epoch after epoch."""
    order, position = torch.randperm(len(x)), 0

    def following() -> tuple[Tensor, Tensor]:
        nonlocal order, position
        if position + batch_size > len(x):
            order, position = torch.randperm(len(x)), 0
        rows = order[position : position + batch_size]
        position += batch_size
        if select:
            return x.index_select(0, rows), labels.index_select(0, rows)
        return x[rows], labels[rows]

    return following


def seconds(following: Next, num_batches: int) -> float:
    """Time for some batches, after a few that are not counted."""
    for _ in range(3):
        following()
    start = time.perf_counter()
    for _ in range(num_batches):
        following()
    return time.perf_counter() - start


def median_ratios(
    baselines: dict[str, Next], ours: Next, num_batches: int, repeats: int
) -> dict[str, float]:
    """Median of baseline time / our time for each baseline."""
    ratios: dict[str, list[float]] = {name: [] for name in baselines}
    for _ in range(repeats):
        taken = {name: seconds(following, num_batches) for name, following in baselines.items()}
        own = seconds(ours, num_batches)
        for name, baseline in taken.items():
            ratios[name].append(baseline / own)
    return {name: statistics.median(values) for name, values in ratios.items()}


def main() -> None:
    """Prints the ratios and the verdict.

    Raises:
        SystemExit: Always; its code is 0 if the figures are good enough.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="3x32x32")
    parser.add_argument("--examples", type=int, default=50_000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=31)
    args = parser.parse_args()
    shape = tuple(map(int, args.shape.split("x")))
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (args.examples, *shape), dtype=np.uint8)
    labels = rng.integers(0, 10, args.examples)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.npy")
        np.save(path, x)
        mapped = Split(x=np.load(path, mmap_mode="r"), context={"label": labels})
        writable = np.load(path, mmap_mode="c")  # torch takes no other map
        np.asarray(mapped.x).max()  # into the page cache
        kinds = (("resident", 1 << 62, x), ("memory-mapped", 0, writable))
        figures: dict[str, float] = {}
        for name, resident_bytes, values in kinds:
            batches.RESIDENT_BYTES = resident_bytes
            tensors = torch.from_numpy(values), torch.from_numpy(labels)
            baselines = {
                "x[rows]": plain_index(*tensors, args.batch_size, select=False),
                "index_select": plain_index(*tensors, args.batch_size, select=True),
            }
            stream = TrainBatches(mapped, args.batch_size, 0, "cpu")
            ratios = median_ratios(baselines, stream.next, args.batches, args.repeats)
            for baseline, ratio in ratios.items():
                print(f"{name}: {ratio:.2f} of {baseline}, {args.batch_size} of {args.shape}")
                figures[f"{name} against {baseline}"] = ratio
    plain = [name for name in figures if name.endswith("x[rows]")]
    slowest = min(plain, key=lambda name: figures[name])
    holds = figures[slowest] >= LEAST
    print(
        f"verdict: {'holds' if holds else 'FAILS'} (at least {LEAST} of a plain index; least is "
        f"{figures[slowest]:.3f}, {slowest})"
    )
    raise SystemExit(not holds)


if __name__ == "__main__":
    main()
