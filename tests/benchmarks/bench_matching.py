"""Training steps of OT-CFM against its authors' code.

    python -m tests.benchmarks.bench_matching PATH --profile 12

PATH is a checkout of github.com/atong01/conditional-flow-matching, which is brought along only to
measure. Both networks get the same weights, and must give the same velocities before anything is
timed. A step is that of the released example on CIFAR-10 but for sizes: noise, optimal pairs, loss,
backward, clipping, Adam, and the average of weights. The ratio is our time / theirs, so more than 1
means that ours is slower; its parts are in ``--profile``.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flowbench.api import Ema
from flowbench.training.optim import RampedAverage
from flowbench_models.continuous.matching.config import OTCFMConfig
from flowbench_models.continuous.matching.model import OTCFM
from tests.benchmarks.bench_released import LEVELS, Run, data_info, our_step, profile
from tests.benchmarks.ratios import Ratio, argument_parser, take_turns

NOT_ZERO_STD = 0.05  # of all weights, so that layers that start at zero count in the comparison
TOLERANCE = 1e-3  # of velocities in float32, relative


def both(options: argparse.Namespace) -> tuple[OTCFM, Any]:
    """Our model as the paper trains it, and the released network with the same weights."""
    sizes = {name: getattr(options, name) for name in ("width", "blocks", "multipliers")}
    values = {**OTCFMConfig.presets["cifar10"].values, **sizes}
    config = OTCFMConfig.model_validate(values)
    (halved,) = config.attention
    released = import_module("torchcfm.models.unet.unet").UNetModelWrapper(
        dim=(3, options.side, options.side),
        num_res_blocks=config.blocks,
        num_channels=config.width,
        channel_mult=list(config.multipliers),
        num_head_channels=config.head_channels,
        attention_resolutions=str(options.side // halved),
        dropout=config.dropout,
    )
    model = OTCFM(config, data_info(3, options.side))
    with torch.no_grad():
        # Both name their layers in the order of their use.
        for ours, theirs in zip(model.parameters(), released.parameters(), strict=True):
            theirs.add_(NOT_ZERO_STD * torch.randn(theirs.shape))
            ours.copy_(theirs)
    return model, released


@torch.no_grad()
def largest_difference(model: OTCFM, released: Any, x: Tensor) -> float:
    """Of velocities, over the largest of them."""
    t = torch.rand(len(x))
    theirs: Tensor = released.eval()(t, x)
    return float((model.eval().velocity(t, x, None) - theirs).abs().max() / theirs.abs().max())


def our_averaged_step(model: OTCFM, raw: Tensor) -> Run:
    """Our training step, and the average."""
    run = our_step(model.train(), raw)
    average = RampedAverage(model, decay_of(model))

    def step() -> None:
        run()
        average.update()

    return step


def decay_of(model: OTCFM) -> float:
    """The decay of the average of weights that the model is trained with."""
    average = model.config.training.average
    assert isinstance(average, Ema)
    assert average.decay is not None
    return average.decay


def released_step(model: OTCFM, released: Any, raw: Tensor) -> Run:
    """The released example's step, with the settings of our preset."""
    training, decay = model.config.training, decay_of(model)
    max_norm = training.clip_norm
    assert max_norm is not None
    matcher = import_module(
        "torchcfm.conditional_flow_matching"
    ).ExactOptimalTransportConditionalFlowMatcher(sigma=model.config.sigma)
    optimizer = torch.optim.Adam(released.parameters(), lr=training.lr)
    averaged = copy.deepcopy(released)
    released.train()

    def run() -> None:
        optimizer.zero_grad()
        x1 = 2.0 * raw / (LEVELS - 1) - 1.0
        t, points, velocity = matcher.sample_location_and_conditional_flow(
            torch.randn(x1.shape), x1
        )
        (released(t, points) - velocity).square().mean().backward()
        nn.utils.clip_grad_norm_(released.parameters(), max_norm)
        optimizer.step()
        old, new = averaged.state_dict(), released.state_dict()
        for name, value in old.items():
            value.copy_(decay * value + (1.0 - decay) * new[name])

    return run


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argument_parser(__doc__, rounds=20)
    parser.add_argument("released", type=Path, metavar="PATH")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--side", type=int, default=16)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--blocks", type=int, default=1)
    parser.add_argument("--multipliers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--profile", type=int, default=0, metavar="ROWS")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Checks that both networks agree, takes steps in turns, and prints the ratio.

    Raises:
        SystemExit: The networks do not agree.
    """
    options = options_of(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    sys.path.insert(0, str(options.released))
    model, released = both(options)
    raw = torch.randint(0, LEVELS, (options.batch_size, 3, options.side, options.side))
    difference = largest_difference(model, released, torch.randn(raw.shape))
    print(f"{model.num_parameters():,} parameters each, velocities differ by {difference:.1e}")
    if difference > TOLERANCE:
        raise SystemExit("the networks do not agree")
    ours, theirs = our_averaged_step(model, raw), released_step(model, released, raw)
    ours_s, theirs_s = take_turns(ours, theirs, rounds=options.rounds)
    sizes = f"width {options.width}, multipliers {'-'.join(map(str, options.multipliers))}, "
    title = f"ours / released, ot-cfm step ({sizes}batch {'x'.join(map(str, raw.shape))})"
    ratio = Ratio.of(title, ours_s, theirs_s)
    medians = 1e3 * np.median([ours_s, theirs_s], axis=1)
    print("ours {:.1f} ms, released {:.1f} ms (medians)".format(*medians))
    print(f"{ratio}, load of the machine {os.getloadavg()[0]:.1f}")
    if options.profile:
        profile(ours, options.profile)
    return [ratio]


if __name__ == "__main__":
    main()
