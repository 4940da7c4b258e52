"""Training steps of SurVAE, MaCow and mAR-SCF against their authors' code.

    python -m tests.benchmarks.bench_multi_scale survae PATH --steps 4 --depth 4
    python -m tests.benchmarks.bench_multi_scale macow PATH --width 128
    python -m tests.benchmarks.bench_multi_scale mar-scf PATH --width 96 --coupling mixture

PATH is a checkout of github.com/didriknielsen/survae_flows, github.com/XuezheMax/macow or
github.com/visinf/mar-scf, which are brought along only to measure. Both have equal parameter counts
but for weights that the released code never uses, and the structure of the paper's preset for
CIFAR-10 but for sizes. A step is that of either side: dequantization, loss, backward, Adamax. The
ratio is our time / theirs, so more than 1 means that ours is slower; where ours goes is in
``--profile``.
"""

from __future__ import annotations

import argparse
import collections
import collections.abc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from flowbench.api.models import GenerativeModel
from flowbench_models.autoregressive.macow.config import MaCowConfig
from flowbench_models.autoregressive.macow.model import MaCow
from flowbench_models.coupling.marscf.config import MARSCFConfig
from flowbench_models.coupling.marscf.model import MARSCF
from flowbench_models.surjective.survae import SurVAE, SurVAEConfig
from tests.benchmarks.bench_free_form import without_removed_module
from tests.benchmarks.bench_released import (
    LEVELS,
    data_info,
    our_step,
    profile,
    released_step,
)
from tests.benchmarks.ratios import Ratio, argument_parser, take_turns

SHAPE = (3, 32, 32)
Loss = Callable[[Tensor], Tensor]
Pair = tuple[GenerativeModel, nn.Module, Loss]


def survae_pair(options: argparse.Namespace) -> Pair:
    """Both SurVAE flows, with max pooling and variational dequantization."""
    _with_what_is_missing()
    for folder in (options.released, options.released / "experiments" / "image"):
        sys.path.insert(0, str(folder))
    changes = {"steps": options.steps, "width": options.width, "depth": options.depth}
    config = SurVAEConfig.model_validate({**SurVAEConfig.presets["max-pool"].values, **changes})
    released = import_module("model.pool_flow").PoolFlow(
        data_shape=SHAPE,
        num_bits=8,
        num_scales=config.scales,
        num_steps=config.steps,
        actnorm=False,
        pooling=config.pooling,
        dequant="flow",
        dequant_steps=config.dequantizer_steps,
        dequant_context=config.context_width,
        densenet_blocks=1,
        densenet_channels=config.width,
        densenet_depth=config.depth,
        densenet_growth=config.growth,
        dropout=0.0,
        gated_conv=True,
    )

    def loss(raw: Tensor) -> Tensor:
        nats: Tensor = -released.log_prob(raw).mean()
        return nats

    return SurVAE(config, _data()), released, loss


def macow_pair(options: argparse.Namespace) -> Pair:
    """Both MaCows under uniform dequantization."""
    _with_what_is_missing()
    sys.path.insert(0, str(options.released))
    values = MaCowConfig.presets["cifar10"].values
    few, wide = options.steps, options.width
    levels = {
        **MaCowConfig.model_validate(values).levels.model_dump(),
        "steps": ((few,), (few, few), (few, few), (few,)),
        "widths": (24, wide, wide, wide),
    }
    config = MaCowConfig.model_validate({**values, "levels": levels})
    sizes = config.levels
    flow = {
        "type": "macow",
        "levels": len(sizes.steps),
        "num_steps": [few, [few, few], [few, few], few],
        "factors": list(sizes.factors),
        "in_channels": SHAPE[0],
        "kernel_size": [sizes.reach, sizes.span],
        "scale": config.coupling == "affine",
        "hidden_channels": list(sizes.widths),
        "bottom": True,
        "coupling_type": "conv",
        "inverse": True,
    }
    flows = import_module("macow.models.flow_gen")
    released = flows.FlowGenModel.from_params({"flow": flow})

    def loss(raw: Tensor) -> Tensor:
        x = 2.0 * (raw + torch.rand(raw.shape)) / LEVELS - 1.0
        with _parts_may_be_changed():
            nats: Tensor = -released.log_probability(x).mean()
        return nats

    return MaCow(config, _data()), released, loss


def mar_scf_pair(options: argparse.Namespace) -> Pair:
    """Both mAR-SCFs; the released code fixes sizes of its networks where it builds them."""
    _with_what_is_missing()
    sys.path.insert(0, str(options.released))
    changes = {"steps": options.steps, "width": options.width, "blocks": options.depth}
    preset = "c96" if options.coupling == "mixture" else "affine-c256"
    config = MARSCFConfig.model_validate({**MARSCFConfig.presets[preset].values, **changes})
    main_module: Any = import_module("marscf_main")
    mixture = main_module.MixLogCDFCoupling

    def resized(num_channels: int, width: int, **fixed: Any) -> Any:
        return mixture(num_channels, width, **{**fixed, "num_blocks": config.blocks})

    main_module.MixLogCDFCoupling = resized
    released = main_module.MarScfFlow(
        options.batch_size,
        [*SHAPE[1:], SHAPE[0]],
        "mixlogcdf" if options.coupling == "mixture" else "affine",
        config.levels,
        config.steps,
        config.width,
    )

    def loss(raw: Tensor) -> Tensor:
        with _parts_may_be_changed():
            bits: Tensor = released(raw / LEVELS - 0.5)[1].mean()
        return bits

    return MARSCF(config, _data()), released, loss


PAIRS = {"survae": survae_pair, "macow": macow_pair, "mar-scf": mar_scf_pair}
DEFAULTS = {"survae": (4, 64, 10), "macow": (2, 128, 0), "mar-scf": (2, 96, 2)}
"""Steps a level, width and depth: small enough for a second a step on one core."""


def _data() -> Any:
    return data_info(SHAPE[0], SHAPE[1])


def _with_what_is_missing() -> None:
    """Gives the released codes what is no longer there, and a package that only marks methods."""
    without_removed_module()
    vars(collections).setdefault("Iterable", collections.abc.Iterable)
    marker: Any = ModuleType("overrides")
    marker.overrides = lambda method: method
    sys.modules.setdefault("overrides", marker)


@contextmanager
def _parts_may_be_changed() -> Iterator[None]:
    """Released codes change parts of tensors in place: torch allows that of unsafe parts alone."""

    def split(x: Tensor, sizes: Any, dim: int = 0) -> tuple[Tensor, ...]:
        unsafe: Any = torch.unsafe_split_with_sizes
        return tuple((torch.unsafe_split if isinstance(sizes, int) else unsafe)(x, sizes, dim))

    with (
        mock.patch.object(Tensor, "chunk", Tensor.unsafe_chunk),
        mock.patch.object(torch, "split", split),
    ):
        yield


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argument_parser(__doc__, rounds=15)
    parser.add_argument("model", choices=PAIRS)
    parser.add_argument("released", type=Path, metavar="PATH")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--width", type=int)
    parser.add_argument("--depth", type=int, help="of dense or gated networks")
    parser.add_argument("--coupling", choices=("mixture", "affine"), default="mixture")
    parser.add_argument("--profile", type=int, default=0, metavar="ROWS")
    options = parser.parse_args(arguments)
    for name, value in zip(("steps", "width", "depth"), DEFAULTS[options.model], strict=True):
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Takes steps of both in turns, and prints the ratio."""
    options = options_of(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model, released, loss = PAIRS[options.model](options)
    raw = torch.randint(0, LEVELS, (options.batch_size, *SHAPE))
    counts = model.num_parameters(), sum(p.numel() for p in released.parameters())
    print(f"{options.model}: {counts[0]:,} parameters, released {counts[1]:,}")
    ours = our_step(model.train(), raw)
    theirs = released_step(released.train(), lambda: loss(raw))
    ours_s, theirs_s = take_turns(ours, theirs, rounds=options.rounds)
    sizes = f"steps {options.steps}, width {options.width}, batch {options.batch_size}"
    ratio = Ratio.of(f"ours / released, {options.model} step ({sizes})", ours_s, theirs_s)
    medians = 1e3 * np.median([ours_s, theirs_s], axis=1)
    print("ours {:.0f} ms, released {:.0f} ms (medians)".format(*medians))
    print(f"{ratio}, load of the machine {os.getloadavg()[0]:.1f}")
    if options.profile:
        profile(ours, options.profile)
    return [ratio]


if __name__ == "__main__":
    main()
