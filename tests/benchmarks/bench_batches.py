"""Batches per second of `TrainBatches` against indexing a plain tensor.

Both hand over the same batches (values and labels) of the same random images, in turns within one
process: ours resident in memory, and out of a memory-mapped file. The baselines are ``x[rows]`` and
``x.index_select(0, rows)``, the fastest there is, on a tensor in the same kind of memory (its own
copy, or the same mapped file), with a new permutation each epoch.
A ratio is baseline time / our time, so 1.0 means that the stream costs nothing. Before timing, the
page cache is warm. The last line is the verdict, on the smaller of the figures against ``x[rows]``.

    python -m tests.benchmarks.bench_batches --shape 3x32x32 --batch-size 64
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from flowbench.api import Split
from flowbench.data import batches
from flowbench.data.batches import TrainBatches
from tests.benchmarks.ratios import Ratio, argument_parser, take_turns

Next = Callable[[], object]
PLAIN = "x[rows]"
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


def several(following: Next, num_batches: int) -> Next:
    """Some batches in a row: one alone is too short to time."""

    def run() -> None:
        for _ in range(num_batches):
            following()

    return run


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Prints the ratios and the verdict."""
    parser = argument_parser(__doc__, rounds=31)
    parser.add_argument("--shape", default="3x32x32")
    parser.add_argument("--examples", type=int, default=50_000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--batches", type=int, default=100)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    shape = tuple(map(int, options.shape.split("x")))
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (options.examples, *shape), dtype=np.uint8)
    labels = rng.integers(0, 10, options.examples)
    ratios: list[Ratio] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.npy")
        np.save(path, x)
        mapped = Split(x=np.load(path, mmap_mode="r"), context={"label": labels})
        writable = np.load(path, mmap_mode="c")  # torch takes no other map
        np.asarray(mapped.x).max()  # into the page cache
        kinds = (("resident", 1 << 62, x), ("memory-mapped", 0, writable))
        for name, resident_bytes, values in kinds:
            tensors = torch.from_numpy(values), torch.from_numpy(labels)
            with mock.patch.object(batches, "RESIDENT_BYTES", resident_bytes):
                stream = TrainBatches(mapped, options.batch_size, 0, "cpu")
            runs = (
                stream.next,
                plain_index(*tensors, options.batch_size, select=False),
                plain_index(*tensors, options.batch_size, select=True),
            )
            in_rows = [several(run, options.batches) for run in runs]
            # The stream's own thread must count, so this is time on the wall.
            ours, plain, selected = take_turns(
                *in_rows, rounds=options.rounds, clock=time.perf_counter
            )
            sizes = f"{name}, {options.batch_size} of {options.shape}"
            ratios.append(Ratio.of(f"{PLAIN} / stream ({sizes})", plain, ours))
            ratios.append(Ratio.of(f"index_select / stream ({sizes})", selected, ours))
    print(*ratios, sep="\n")
    least = min(ratio.median for ratio in ratios if ratio.variant.startswith(PLAIN))
    verdict = "holds" if least >= LEAST else "FAILS"
    print(f"verdict: {verdict} (at least {LEAST} of a plain index; least is {least:.3f})")
    return ratios


if __name__ == "__main__":
    main()
