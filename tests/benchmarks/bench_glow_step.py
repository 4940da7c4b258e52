"""What a whole training step of Glow costs beside the convolutions of its coupling networks alone.

    python -m tests.benchmarks.bench_glow_step --rounds 40

A step is forward and backward of the loss. The convolutions run forward and backward over inputs
of the same shapes, channels-last, without bias, norm or activation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from flowbench.api import Batch, DatasetInfo, Step
from flowbench.api.models import split_info
from flowbench_models.coupling.glow.config import GlowConfig
from flowbench_models.coupling.glow.model import Glow
from tests.benchmarks.ratios import Ratio, argument_parser, take_turns

IMAGE = (3, 32, 32)


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
        split_info(model.loss(batch, step))[0].backward()

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


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Times a step and its convolutions in turns, and prints their ratio."""
    parser = argument_parser(__doc__, rounds=40)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--levels", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--width", type=int, default=128)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    config = GlowConfig(levels=options.levels, steps=options.steps, width=options.width)
    step = glow_step(config, options.batch_size)
    convolutions = coupling_convolutions(config, options.batch_size)
    step_s, convolutions_s = take_turns(step, convolutions, rounds=options.rounds)
    sizes = f"{config.levels}x{config.steps} steps, width {config.width}"
    variant = f"step / its convolutions ({sizes}, batch {options.batch_size})"
    ratio = Ratio.of(variant, step_s, convolutions_s)
    medians = f"step {1e3 * np.median(step_s):.1f} ms"
    print(f"{medians}, convolutions {1e3 * np.median(convolutions_s):.1f} ms (medians)")
    print(ratio)
    return [ratio]


if __name__ == "__main__":
    main()
