"""Training steps per second against released PyTorch code of the same architecture.

    python -m tests.benchmarks.bench_released glow --released PATH --preset small
    python -m tests.benchmarks.bench_released denseflow --released PATH --preset natural-patches

PATH is a checkout of github.com/y0ast/Glow-PyTorch or github.com/matejgrcic/DenseFlow, which are
brought along only to measure. A step is that of either side's own training: gradients to zero,
dequantization, loss, backward, Adamax, on the same batch of integer images; the ratio is released
time / our time, so more than 1 means that ours is faster. Parameter counts must agree. ``--preset``
takes sizes and batch from one of our presets; what released code has no switch for stays as
released (attention, dequantization, priors). With ``--profile`` the share of convolutions and
matrix products in our step follows.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flowbench.api import Batch, DatasetInfo, ModelConfig, Step
from flowbench.api.models import GenerativeModel, split_info
from flowbench.data.preprocess import Preprocessor
from flowbench.training.optim import GuardedStep
from flowbench_models.augmented.denseflow.config import DenseFlowConfig
from flowbench_models.augmented.denseflow.model import DenseFlow
from flowbench_models.coupling.glow.config import GlowConfig
from flowbench_models.coupling.glow.model import Glow
from tests.benchmarks.ratios import Ratio, argument_parser, take_turns

LEVELS = 256
PRODUCTS = ("convolution", "conv_", "::mm", "addmm", "bmm", "linear")
GLOW_SIZES = ("levels", "steps", "width")
DENSEFLOW_SIZES = (
    "units",
    "modules",
    "growth",
    "width",
    "dense_depth",
    "dense_growth",
    "dequantizer_steps",
    "dequantizer_width",
    "dequantizer_depth",
    "dequantizer_growth",
    "context_growth",
)
Run = Callable[[], None]


def data_info(channels: int, side: int) -> DatasetInfo:
    """Facts of a dataset of square images."""
    return DatasetInfo(
        name="noise",
        modality="image",
        event_shape=(channels, side, side),
        levels=LEVELS,
        num_train=1,
        num_validation=1,
        num_test=1,
    )


def our_step(
    model: GenerativeModel, raw: Tensor, context: Mapping[str, Tensor] | None = None
) -> Run:
    """Our training step: preprocessing, loss, backward, guarded optimizer, what comes after."""
    given = context or {}
    training = model.config.training
    preprocessor = Preprocessor(model.config.preprocessing, model.data)
    generator = torch.Generator()
    model.initialize(
        Batch(x=preprocessor.forward(raw, generator)[0], context=given),
        generator=torch.Generator(),
    )
    guarded = GuardedStep(training, model.optimizer_groups()["all"])
    first = Step(progress=torch.zeros(()), phase=0, group="all", generator=generator, seed=0)
    seeds = itertools.count()

    def run() -> None:
        step = replace(first, seed=next(seeds))
        guarded.zero_grad()
        batch = Batch(x=preprocessor.forward(raw, generator)[0], context=given)
        loss = split_info(model.loss(batch, step))[0]
        loss.backward()
        guarded(training.lr, loss.detach())
        model.after_step(step)

    return run


def released_step(net: nn.Module, loss: Callable[[], Tensor]) -> Run:
    """A training step of released code, which uses torch's Adamax as it comes."""
    optimizer = torch.optim.Adamax(net.parameters(), lr=1e-3)

    def run() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return run


def glow_pair(options: argparse.Namespace, raw: Tensor) -> tuple[GenerativeModel, nn.Module, Run]:
    """Glow, and y0ast/Glow-PyTorch of the same size."""
    sys.path.insert(0, str(options.released))
    for name, now in (("qr", "qr"), ("lu", "lu_factor")):  # torch has dropped the old names
        setattr(torch, name, getattr(torch.linalg, now))
    released_glow = import_module("model").Glow
    config = _with_adamax(
        GlowConfig(levels=options.levels, steps=options.steps, width=options.width)
    )
    released = released_glow(
        image_shape=(options.side, options.side, options.channels),
        hidden_channels=options.width,
        K=options.steps,
        L=options.levels,
        actnorm_scale=1.0,
        flow_permutation="invconv",
        flow_coupling="affine",
        LU_decomposed=True,
        y_classes=10,
        learn_top=True,
        y_condition=False,
    )

    def loss() -> Tensor:
        bits: Tensor = released(raw.float() / LEVELS - 0.5, None)[1]
        return bits.mean()

    model = Glow(config, data_info(options.channels, options.side))
    return model, released, released_step(released, loss)


def denseflow_pair(
    options: argparse.Namespace, raw: Tensor
) -> tuple[GenerativeModel, nn.Module, Run]:
    """DenseFlow and its released code of the same size."""
    for folder in (options.released, options.released / "experiments" / "image"):
        sys.path.insert(0, str(folder))
    elbo_bpd = import_module("denseflow.utils").elbo_bpd
    parts = ("affine_coupling", "dense_flow", "dequantization")
    affine_coupling, dense_flow, dequantization = (import_module(f"model.{p}") for p in parts)
    paper = DenseFlowConfig.presets["74-10"].values
    changes = {name: getattr(options, name) for name in DENSEFLOW_SIZES}
    changes["head_width"] = options.width // 2  # fixed so in the released code
    config = DenseFlowConfig.model_validate({**paper, **changes})
    _resize_released(affine_coupling, dense_flow, dequantization, options)
    released = dense_flow.DenseFlow(
        data_shape=(options.channels, options.side, options.side),
        block_config=list(options.units),
        layers_config=list(options.modules),
        layer_mid_chnls=[options.width] * len(options.units),
        growth_rate=options.growth,
        checkpointing=False,
    )
    model = DenseFlow(config, data_info(options.channels, options.side))
    return model, released, released_step(released, lambda: elbo_bpd(released, raw))


def _resize_released(
    affine_coupling: Any, dense_flow: Any, dequantization: Any, options: argparse.Namespace
) -> None:
    """Sets the sizes that the released code fixes where it builds its networks."""
    networks = affine_coupling.DenseNetMultihead

    def coupling_net(inChannels: int, midChannel: int, outChannel: int, checkpointing: bool) -> Any:
        del checkpointing
        return networks(
            inChannels,
            outChannel,
            num_blocks=1,
            mid_channels=midChannel,
            depth=options.dense_depth,
            growth=options.dense_growth,
            dropout=0.0,
            gated_conv=True,
            zero_init=True,
        )

    affine_coupling.DNMH = coupling_net
    dense_flow.DequantizationFlow = partial(
        dense_flow.DequantizationFlow,
        num_steps=options.dequantizer_steps,
        num_context=options.dequantizer_width,
        mid_channels=options.dequantizer_width,
        depth=options.dequantizer_depth,
        growth=options.dequantizer_growth,
    )
    block = dequantization.DenseBlock

    def context_block(**sizes: Any) -> Any:
        sizes.update(depth=options.dequantizer_depth, growth=options.context_growth)
        return block(**sizes)

    dequantization.DenseBlock = context_block


def _with_adamax(config: ModelConfig) -> Any:
    training = config.training.model_copy(update={"optimizer": "adamax"})
    return config.model_copy(update={"training": training})


def profile(run: Run, rows: int) -> None:
    """Prints where our step spends its time, operation by operation."""
    for _ in range(3):  # fresh memory is slow to touch: the first steps are not like the others
        run()
    with torch.profiler.profile() as profiler:
        for _ in range(3):
            run()
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    products = sum(
        event.self_cpu_time_total for event in events if any(part in event.key for part in PRODUCTS)
    )
    print(events.table(sort_by="self_cpu_time_total", row_limit=rows, max_name_column_width=40))
    print(f"convolutions and matrix products: {products / total:.1%} of the step")


def preset_sizes(model: str, preset: str) -> dict[str, Any]:
    """Sizes and batch of one of our presets, as options."""
    kind = GlowConfig if model == "glow" else DenseFlowConfig
    config = kind.model_validate(kind.presets[preset].values)
    sizes = GLOW_SIZES if model == "glow" else DENSEFLOW_SIZES
    values = {name: getattr(config, name) for name in sizes}
    return {**values, "batch_size": config.training.batch_size}


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argument_parser(__doc__, rounds=20)
    parser.add_argument("model", choices=("glow", "denseflow"))
    parser.add_argument("--preset")
    parser.add_argument("--released", type=Path, required=True)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--width", type=int, default=48)
    parser.add_argument("--levels", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--units", type=int, nargs="+", default=[2, 1, 1])
    parser.add_argument("--modules", type=int, nargs="+", default=[2, 2, 2])
    parser.add_argument("--growth", type=int, default=4)
    parser.add_argument("--dense-depth", type=int, default=7)
    parser.add_argument("--dense-growth", type=int, default=64)
    parser.add_argument("--dequantizer-steps", type=int, default=4)
    parser.add_argument("--dequantizer-width", type=int, default=64)
    parser.add_argument("--dequantizer-depth", type=int, default=4)
    parser.add_argument("--dequantizer-growth", type=int, default=64)
    parser.add_argument("--context-growth", type=int, default=16)
    parser.add_argument("--profile", type=int, default=0, metavar="ROWS")
    options = parser.parse_args(arguments)
    if options.preset:
        parser.set_defaults(**preset_sizes(options.model, options.preset))
        options = parser.parse_args(arguments)
    return options


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Takes steps of both in turns, and prints the ratio."""
    options = options_of(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    shape = options.batch_size, options.channels, options.side, options.side
    raw = torch.randint(0, LEVELS, shape)
    pair = glow_pair if options.model == "glow" else denseflow_pair
    model, released, theirs = pair(options, raw)
    counts = [sum(p.numel() for p in net.parameters()) for net in (model, released)]
    print(f"{options.model}: {counts[0]:,} parameters, released {counts[1]:,}")
    ours = our_step(model, raw)
    ours_s, theirs_s = take_turns(ours, theirs, rounds=options.rounds)
    sizes = f"{options.preset or 'own sizes'}, batch {'x'.join(map(str, shape))}"
    ratio = Ratio.of(f"released / ours, {options.model} step ({sizes})", theirs_s, ours_s)
    rates = 1 / np.median(ours_s), 1 / np.median(theirs_s)
    print("ours {:.2f} steps/s, released {:.2f} steps/s (medians)".format(*rates))
    print(f"{ratio}, load of the machine {os.getloadavg()[0]:.1f}")
    if options.profile:
        profile(ours, options.profile)
    return [ratio]


if __name__ == "__main__":
    main()
