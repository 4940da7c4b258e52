"""Training steps of Residual Flow and of FFJORD against their authors' code.

    python -m tests.benchmarks.bench_free_form residual-flow PATH --blocks 2 2 2 --width 128
    python -m tests.benchmarks.bench_free_form ffjord PATH
    python -m tests.benchmarks.bench_free_form ffjord-images PATH --side 8 --batch-size 8

PATH is a checkout of github.com/rtqichen/residual-flows or github.com/rtqichen/ffjord, which are
brought along only to measure. Both have equal parameter counts and the settings of the paper's
preset but for sizes. A step is that of either side: noise, loss, backward, clipping, Adam, and
power iterations. The ratio is our time / theirs, so more than 1 means that ours is slower; its
parts are in ``--profile``. Of a solver, evaluations of its field in the loss are printed, too.
"""

from __future__ import annotations

import argparse
import collections.abc
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flowbench.api import DatasetInfo
from flowbench.api.models import GenerativeModel, split_info, standard_normal_log_prob
from flowbench_models.continuous.ffjord.config import FFJORDConfig
from flowbench_models.continuous.ffjord.model import FFJORD
from flowbench_models.residual.config import ResidualFlowConfig
from flowbench_models.residual.model import ResidualFlow
from tests.benchmarks.bench_released import LEVELS, Run, data_info, our_step, profile
from tests.benchmarks.ratios import Ratio, argument_parser, take_turns

ALPHA = {"residual-flow": 0.05, "ffjord-images": 1e-6}  # of the logit
PLANE = DatasetInfo(
    name="noise",
    modality="vector",
    event_shape=(2,),
    levels=None,
    num_train=1,
    num_validation=1,
    num_test=1,
)
Pair = tuple[GenerativeModel, nn.Module, Callable[[], None]]


def residual_flow_pair(options: argparse.Namespace) -> Pair:
    """Both Residual Flows, and what the released one does after a step."""
    without_removed_module()
    layers, base = import_module("resflows.layers"), import_module("resflows.layers.base")
    shape = options.channels, options.side, options.side
    released = import_module("resflows.resflow").ResidualFlow(
        (options.batch_size, *shape),
        n_blocks=list(options.blocks),
        intermediate_dim=options.width,
        factor_out=False,
        init_layer=layers.LogitTransform(ALPHA["residual-flow"]),
        actnorm=True,
        fc_actnorm=False,
        coeff=0.98,
        vnorms="2222",
        sn_atol=1e-3,
        sn_rtol=1e-3,
        n_power_series=None,
        n_dist="poisson",
        activation_fn="swish",
        n_exact_terms=2,
        preact=True,
        neumann_grad=True,
        grad_in_forward=True,
        first_resblock=True,
    )
    # Made by a first batch: vectors of the power iteration, and norms.
    released(torch.rand(options.batch_size, *shape), 0)
    normed = (base.InducedNormConv2d, base.InducedNormLinear)

    @torch.no_grad()
    def update() -> None:
        for module in released.modules():
            if isinstance(module, normed):
                module.compute_weight(update=True)

    changes = {"blocks": options.blocks, "width": options.width}
    num_unused = 2 * (sum(options.blocks) + 4)
    values = {**ResidualFlowConfig.presets["cifar10"].values, **changes, "unused": num_unused}
    config = ResidualFlowConfig.model_validate(values)
    return ResidualFlow(config, data_info(options.channels, options.side)), released, update


def ffjord_pair(options: argparse.Namespace) -> Pair:
    """Both FFJORDs over points in the plane."""
    layers, fields = import_module("lib.layers"), import_module("lib.layers.odefunc")
    config = FFJORDConfig.model_validate(FFJORDConfig.presets["planar"].values)
    net = fields.ODEnet(
        hidden_dims=config.hidden,
        input_shape=(2,),
        strides=None,
        conv=False,
        layer_type="concatsquash",
        nonlinearity="tanh",
    )
    field = fields.ODEfunc(net, divergence_fn="brute_force")
    flow = layers.CNF(field, T=config.end_time, train_T=True)
    return FFJORD(config, PLANE), layers.SequentialFlow([flow]), lambda: None


def ffjord_images_pair(options: argparse.Namespace) -> Pair:
    """Both FFJORDs over images, with as many scales as the released one makes of their size."""
    values = FFJORDConfig.presets["cifar10"].values
    scales = options.side.bit_length() - 2
    config = FFJORDConfig.model_validate({**values, "scales": scales})
    released = import_module("lib.odenvp").ODENVP(
        (options.batch_size, options.channels, options.side, options.side),
        n_blocks=config.blocks,
        intermediate_dims=config.hidden,
        nonlinearity=config.activation,
        alpha=ALPHA["ffjord-images"],
        cnf_kwargs={"T": config.end_time, "train_T": True},
    )
    for field in _fields_of(released):
        field.rademacher = True
    return FFJORD(config, data_info(options.channels, options.side)), released, lambda: None


PAIRS = {
    "residual-flow": residual_flow_pair,
    "ffjord": ffjord_pair,
    "ffjord-images": ffjord_images_pair,
}


def released_step(model: GenerativeModel, released: Any, after: Run, raw: Tensor) -> Run:
    """The released training step, with the settings of our preset."""
    training = model.config.training
    optimizer = torch.optim.Adam(
        released.parameters(), training.lr, training.betas, weight_decay=training.weight_decay
    )
    zeros = torch.zeros(len(raw), 1)

    def run() -> None:
        optimizer.zero_grad()
        x = raw if raw.is_floating_point() else (raw + torch.rand(raw.shape)) / LEVELS
        z, delta = released(x, zeros)
        (delta.view(-1) - standard_normal_log_prob((z,))).mean().backward()
        if training.clip_norm is not None:
            nn.utils.clip_grad_norm_(released.parameters(), training.clip_norm)
        optimizer.step()
        after()

    return run


@torch.no_grad()
def evaluations(model: GenerativeModel, released: nn.Module, raw: Tensor) -> str | None:
    """How often either side evaluates its field for a loss; None where there is no solver."""
    fields = _fields_of(released)
    if not fields or not isinstance(model, FFJORD):
        return None
    x = torch.rand(raw.shape)
    released(x, torch.zeros(len(x), 1))
    ours = int(split_info(model.log_prob(x))[1]["num_function_evaluations"])
    theirs = sum(int(field.num_evals()) for field in fields)
    return f"evaluations of the field in a loss: {ours}, released {theirs}"


def _fields_of(released: nn.Module) -> list[Any]:
    return [module for module in released.modules() if hasattr(module, "_num_evals")]


def without_removed_module() -> None:
    """Gives the released code what torch no longer has."""
    removed: Any = ModuleType("torch._six")
    removed.container_abcs, removed.inf = collections.abc, float("inf")
    sys.modules.setdefault("torch._six", removed)


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argument_parser(__doc__, rounds=20)
    parser.add_argument("model", choices=PAIRS)
    parser.add_argument("released", type=Path, metavar="PATH")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--blocks", type=int, nargs="+", default=[2, 2, 2])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--profile", type=int, default=0, metavar="ROWS")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Takes steps of both in turns, and prints the ratio."""
    options = options_of(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (the released series draw their lengths from it)
    sys.path.insert(0, str(options.released))
    model, released, after = PAIRS[options.model](options)
    shape = options.batch_size, *model.data.event_shape
    raw = torch.randint(0, LEVELS, shape) if len(shape) == 4 else torch.randn(shape)
    counts = model.num_parameters(), sum(p.numel() for p in released.parameters())
    print(f"{options.model}: {counts[0]:,} parameters, released {counts[1]:,}")
    ours = our_step(model.train(), raw)
    theirs = released_step(model, released.train(), after, raw)
    ours_s, theirs_s = take_turns(ours, theirs, rounds=options.rounds)
    sizes = f"blocks {'-'.join(map(str, options.blocks))}, width {options.width}, "
    sizes = sizes if options.model == "residual-flow" else ""
    title = f"ours / released, {options.model} step ({sizes}batch {'x'.join(map(str, shape))})"
    ratio = Ratio.of(title, ours_s, theirs_s)
    print(
        "ours {:.1f} ms, released {:.1f} ms (medians)".format(
            *1e3 * np.median([ours_s, theirs_s], axis=1)
        )
    )
    if (line := evaluations(model, released, raw)) is not None:
        print(line)
    print(f"{ratio}, load of the machine {os.getloadavg()[0]:.1f}")
    if options.profile:
        profile(ours, options.profile)
    return [ratio]


if __name__ == "__main__":
    main()
