"""What sampling a TarFlow by sweeps costs against token by token, and how far off it ends.

    python -m tests.benchmarks.bench_tarflow_sweeps --figure sweeps.svg

A small TarFlow is trained on digits first: how many sweeps a tolerance takes depends on weights.
Reported are sweeps, seconds over those of the cached sampler, and the largest difference of a pixel
from its samples, of the range of all levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor

from flowbench.api import Batch, DatasetInfo, Step, split_info
from flowbench.data.preprocess import Preprocessor
from flowbench_models.autoregressive.tarflow.config import TarFlowConfig, TarFlowSampling
from flowbench_models.autoregressive.tarflow.model import TarFlow
from tests.benchmarks.ratios import Ratio, argument_parser, take_turns

DIGITS = DatasetInfo(
    name="digits",
    modality="image",
    event_shape=(1, 8, 8),
    levels=17,
    num_train=1797,
    num_validation=1,
    num_test=1,
)
BATCH_SIZE, LR = 64, 2e-3
TOLERANCES = (1.0, 0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4, 0.0)
SEGMENTS = (1, 4)


@dataclass(frozen=True)
class Point:
    """One way to sample: how many segments, to which tolerance, at which cost and error."""

    segments: int
    tolerance: float
    sweeps: int
    ratio: Ratio
    error: float


def trained(steps: int, patch_size: int) -> TarFlow:
    """A TarFlow after some steps on digits."""
    torch.manual_seed(0)
    preset = TarFlowConfig.presets["tiny"].values
    config = TarFlowConfig.model_validate({**preset, "patch_size": patch_size})
    model, preprocessor = TarFlow(config, DIGITS), Preprocessor(config.preprocessing, DIGITS)
    images = torch.from_numpy(load_digits().images).long().unsqueeze(1)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
    for index in range(steps):
        picks = torch.randint(len(images), (BATCH_SIZE,), generator=generator)
        x, _ = preprocessor.forward(images[picks], generator)
        step = Step(
            progress=torch.tensor(index / steps),
            phase=0,
            group="all",
            generator=generator,
            seed=index,
        )
        optimizer.zero_grad()
        split_info(model.loss(Batch(x=x), step))[0].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Trains, samples in every way, prints each, and draws the figure if asked for."""
    parser = argument_parser(__doc__, rounds=3)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--patch-size", type=int, default=1)
    parser.add_argument("--num", type=int, default=16)
    parser.add_argument("--figure", type=Path, default=None)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    model = trained(options.steps, options.patch_size)

    @torch.no_grad()
    def drawn(**settings: object) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        chosen = TarFlowSampling.model_validate(settings)
        x, _ = split_info(model.sample(options.num, settings=chosen, generator=generator))
        return x

    def pixels(**settings: object) -> Tensor:
        # The preset ends with a logit: its inverse is a pixel's part of the range.
        return drawn(**settings).double().sigmoid()

    expected, points = pixels(), []
    for segments in SEGMENTS:
        for tolerance in TOLERANCES:
            way: dict[str, object] = {
                "sampler": "jacobi",
                "segments": segments,
                "sweep_tolerance": tolerance,
            }
            error = float((pixels(**way) - expected).abs().max())
            sweeps = sum(model.sweeps)
            swept, cached = take_turns(
                lambda: drawn(**way),  # noqa: B023
                drawn,
                rounds=options.rounds,
                warm_up=0,  # both have been drawn
            )
            variant = f"sweeps / cached, {segments} segments, tolerance {tolerance:g}"
            point = Point(segments, tolerance, sweeps, Ratio.of(variant, swept, cached), error)
            points.append(point)
            print(f"{point.ratio}; {sweeps} sweeps, largest error {error:.3g}")
    if options.figure is not None:
        draw(points, options.figure)
    return [point.ratio for point in points]


def draw(points: Sequence[Point], path: Path) -> None:
    """Cost against error, beside the cached sampler at a cost of 1 and no error."""
    mpl.rcParams["svg.hashsalt"] = "flowbench"  # same numbers, same bytes
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    floor = 1e-7  # no error has a place on a log scale
    for segments in SEGMENTS:
        of = [point for point in points if point.segments == segments]
        label = "Jacobi" if segments == 1 else f"Gauss-Seidel-Jacobi, {segments} segments"
        costs = [point.ratio.median for point in of]
        axes.plot(costs, np.maximum([point.error for point in of], floor), "o-", label=label)
    axes.axvline(1.0, color="gray", linestyle="--", label="cached, token by token")
    axes.set(xscale="log", yscale="log", xlabel="seconds over those of the cached sampler")
    axes.set_ylabel("largest error of a pixel, of the range")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    figure.legend(loc="outside upper center", ncols=3, fontsize="small")
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
