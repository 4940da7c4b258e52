"""What a whole training step of Glow costs beside the convolutions of its coupling networks alone.

    python tests/benchmarks/bench_glow_step.py --rounds 40

A step is forward and backward of the loss. The convolutions run forward and backward over inputs
of the same shapes, channels-last, without bias, norm or activation. Both take turns in one process,
so that a slow moment of the machine hits both; reported are the median of the pairwise ratios and
its 95 % interval over resampled rounds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from flowbench.api import Batch, DatasetInfo, Step
from flowbench_models.glow import Glow, GlowConfig

IMAGE = (3, 32, 32)
RESAMPLES = 2000


@dataclass(frozen=True)
class Timing:
    """Seconds of one round."""

    step_s: float
    convolutions_s: float

    @property
    def ratio(self) -> float:
        """Cost of the whole step in units of its convolutions."""
        return self.step_s / self.convolutions_s


def glow_step(config: GlowConfig, batch_size: int) -> Callable[[], None]:
    """A training step of Glow without its optimizer."""
    data = DatasetInfo(
        name="noise",
        modality="image",
        event_shape=IMAGE,
        levels=256,
        num_train=1,
        num_validation=1,
        num_test=1,
    )
    model = Glow(config, data)
    batch = Batch(x=torch.rand(batch_size, *IMAGE) - 0.5)
    model.initialize(batch, generator=torch.Generator())
    generator = torch.Generator()
    step = Step(progress=torch.zeros(()), phase=0, group="all", generator=generator, seed=0)

    def run() -> None:
        model.zero_grad()
        model.loss(batch, step).backward()

    return run


def coupling_convolutions(config: GlowConfig, batch_size: int) -> Callable[[], None]:
    """Forward and backward of the convolutions of every coupling network."""
    nets: list[tuple[nn.Module, Tensor, Tensor]] = []
    channels, height, width = IMAGE
    for _ in range(config.levels):
        channels, height, width = 4 * channels, height // 2, width // 2
        for _ in range(config.steps):
            net = _convolutions(config, channels)
            h = torch.randn(batch_size, channels // 2, height, width)
            gradient = torch.randn(batch_size, channels, height, width)
            nets.append((net, _channels_last(h).requires_grad_(), _channels_last(gradient)))
        channels //= 2

    def run() -> None:
        for net, h, gradient in nets:
            net.zero_grad()
            h.grad = None
            net(h).backward(gradient)

    return run


def _convolutions(config: GlowConfig, channels: int) -> nn.Module:
    widths = [channels // 2, *(config.width for _ in config.hidden_kernels), channels]
    kernels = (*config.hidden_kernels, config.output_kernel)
    layers = [
        nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)
        for before, after, kernel in zip(widths, widths[1:], kernels, strict=False)
    ]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def seconds(run: Callable[[], None]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(config: GlowConfig, batch_size: int, rounds: int) -> list[Timing]:
    """Times both in turn, after two rounds of warm-up."""
    step = glow_step(config, batch_size)
    convolutions = coupling_convolutions(config, batch_size)
    timings = [Timing(seconds(step), seconds(convolutions)) for _ in range(rounds + 2)]
    return timings[2:]


def median_interval(values: np.ndarray) -> tuple[float, float]:
    """95 % interval of the median over resampled rounds."""
    picks = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(np.median(values[picks], axis=1), [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--levels", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = GlowConfig(levels=options.levels, steps=options.steps, width=options.width)
    timings = measure(config, options.batch_size, options.rounds)
    ratios = np.array([timing.ratio for timing in timings])
    low, high = median_interval(ratios)
    step_ms = 1e3 * np.median([timing.step_s for timing in timings])
    convolutions_ms = 1e3 * np.median([timing.convolutions_s for timing in timings])
    print(f"step {step_ms:.1f} ms, convolutions {convolutions_ms:.1f} ms (medians)")
    print(f"ratio {np.median(ratios):.3f}, 95 % interval {low:.3f} to {high:.3f}, n={len(ratios)}")


if __name__ == "__main__":
    main()
