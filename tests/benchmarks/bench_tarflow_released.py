"""TarFlow against its authors' code: sampling, a training step, and time a token by length.

    python -m tests.benchmarks.bench_tarflow_released PATH --threads 1 --rounds 10

PATH is a checkout of github.com/apple/ml-tarflow, which is brought along only to measure. Both
models get the same weights, and must give the same latents and, from the same noise, the same
images before anything is timed. The ratio is our time / theirs, so less than 1 means that ours is
faster. A training step is that of either side: dequantization of integer images, loss, backward,
AdamW. With ``--profile`` follows where ours spends its time.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flowbench_models.autoregressive.tarflow.config import TarFlowConfig
from flowbench_models.autoregressive.tarflow.model import TarFlow
from flowbench_models.nets.transformer import TokenTransformer, TransformerLayer
from tests.benchmarks.bench_released import LEVELS, Run, data_info, our_step, profile
from tests.benchmarks.ratios import Ratio, argument_parser, take_turns

READ_OUT_STD = 1e-2  # of the read-outs' weights, so that parameters depend on the tokens
TOLERANCE = 1e-3  # of latents and images in float32


def both(options: argparse.Namespace, side: int, blocks: int) -> tuple[TarFlow, Any]:
    """Our model, trained as in the paper, and the released one with the same weights."""
    released_model = import_module("transformer_flow").Model
    torch.manual_seed(0)
    released = released_model(3, side, options.patch_size, options.width, blocks, options.layers)
    for block in released.blocks:
        nn.init.normal_(block.proj_out.weight, std=READ_OUT_STD)
    sizes = {
        "patch_size": options.patch_size,
        "width": options.width,
        "blocks": blocks,
        "layers": options.layers,
    }
    paper = TarFlowConfig.presets["imagenet64"].values
    model = TarFlow(TarFlowConfig.model_validate({**paper, **sizes}), data_info(3, side))
    for turn, (ours, theirs) in enumerate(zip(model.blocks, released.blocks, strict=True)):
        assert isinstance(ours.net, TokenTransformer)
        copy_block(ours.net, theirs, backwards=turn % 2 == 1)
    return model, released


@torch.no_grad()
def copy_block(net: TokenTransformer, released: Any, *, backwards: bool) -> None:
    """Gives a network the released weights; its positions are in the order of reading."""
    net.embed.load_state_dict(released.proj_in.state_dict())
    net.positions.copy_(released.pos_embed.flip(0) if backwards else released.pos_embed)
    net.read_out.load_state_dict(released.proj_out.state_dict())
    for layer, theirs in zip(net.transformer, released.attn_blocks, strict=True):
        copy_layer(layer, theirs)


def copy_layer(layer: TransformerLayer, released: Any) -> None:
    """Gives one transformer layer the released weights."""
    attention, mlp = released.attention, released.mlp
    layer.attention_norm.load_state_dict(attention.norm.state_dict())
    layer.qkv.load_state_dict(attention.qkv.state_dict())
    layer.projection.load_state_dict(attention.proj.state_dict())
    layer.mlp_norm.load_state_dict(mlp.norm.state_dict())
    layer.expand.load_state_dict(mlp.main[0].state_dict())
    layer.contract.load_state_dict(mlp.main[2].state_dict())


@torch.no_grad()
def largest_differences(model: TarFlow, released: Any, noise: Tensor) -> tuple[float, float]:
    """Of the images made of the same noise, and of those images' latents."""
    images = model.from_latent((noise,))
    theirs = released.reverse(noise.clone())
    latents = [model.to_latent(images)[0][0], released(images)[0]]
    return float((images - theirs).abs().max()), float((latents[0] - latents[1]).abs().max())


def sampling(model: TarFlow, released: Any, noise: Tensor) -> tuple[Run, Run]:
    """Both ways to map the same noise to images."""

    def ours() -> None:
        model.from_latent((noise,))

    @torch.no_grad()
    def theirs() -> None:
        released.reverse(noise.clone())

    return ours, theirs


def training(model: TarFlow, released: Any, raw: Tensor) -> tuple[Run, Run]:
    """Both training steps on the same integer images."""
    settings = model.config.training
    optimizer = torch.optim.AdamW(
        released.parameters(), settings.lr, settings.betas, weight_decay=settings.weight_decay
    )

    def theirs() -> None:
        optimizer.zero_grad()
        x = 2.0 * (raw + torch.rand(raw.shape)) / LEVELS - 1.0
        z, _, log_determinants = released(x)
        released.get_loss(z, log_determinants).backward()
        optimizer.step()

    return our_step(model, raw), theirs


def compare(title: str, runs: tuple[Run, Run], options: argparse.Namespace) -> Ratio:
    """Times ours and theirs in turns, and prints medians and ratio."""
    ours_s, theirs_s = take_turns(*runs, rounds=options.rounds, warm_up=1)
    ratio = Ratio.of(f"ours / released, {title}", ours_s, theirs_s)
    load = f"load of the machine {os.getloadavg()[0]:.1f}"
    print(f"{ratio}, ours {np.median(ours_s):.3f} s, {load}")
    return ratio


def compare_lengths(options: argparse.Namespace) -> list[Ratio]:
    """Time of sampling by length; attention alone grows linearly, so slopes are even."""
    before: tuple[int, float] | None = None
    ratios: list[Ratio] = []
    for side in options.sides:
        model, released = both(options, side, blocks=1)
        num_tokens, dims = model.latent_shapes()[0]
        runs = sampling(model, released, torch.randn(options.images, num_tokens, dims))
        ours_s, theirs_s = take_turns(*runs, rounds=options.rounds, warm_up=1)
        title = f"ours / released, {num_tokens} tokens of one block"
        ratios.append(Ratio.of(f"{title} ({sizes_of(options)})", ours_s, theirs_s))
        each_us = 1e6 * float(np.median(ours_s)) / num_tokens
        print(f"{ratios[-1]}, {each_us:.0f} us a token", end="")
        if before is not None:
            slope = (each_us - before[1]) / (num_tokens - before[0])
            print(f", {slope:.2f} us more for each token more", end="")
        print()
        before = num_tokens, each_us
    return ratios


def sizes_of(options: argparse.Namespace) -> str:
    """Patch, width, blocks and layers, as the paper writes them."""
    return f"{options.patch_size}-{options.width}-{options.blocks}-{options.layers}"


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argument_parser(__doc__, rounds=10)
    parser.add_argument("released", type=Path, metavar="PATH")
    parser.add_argument("--images", type=int, default=8, help="images sampled at once")
    parser.add_argument("--batch-size", type=int, default=8, help="images of a training step")
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--sides", type=int, nargs="*", default=[8, 16, 24, 32])
    parser.add_argument("--patch-size", type=int, default=2)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--profile", type=int, default=0, metavar="ROWS")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Checks that both models agree, measures and prints.

    Raises:
        SystemExit: The models do not agree.
    """
    options = options_of(arguments)
    torch.set_num_threads(options.threads)
    sys.path.insert(0, str(options.released))
    model, released = both(options, options.side, options.blocks)
    counts = [sum(p.numel() for p in net.parameters()) for net in (model, released)]
    sizes = f"{sizes_of(options)} on {options.side}x{options.side}"
    print(f"[{sizes}]: {counts[0]:,} parameters, released {counts[1]:,}; {options.threads} threads")
    noise = torch.randn(options.images, *model.latent_shapes()[0])
    differences = largest_differences(model, released, noise)
    print("largest difference of images {:.1e}, of latents {:.1e}".format(*differences))
    if counts[0] != counts[1] or max(differences) > TOLERANCE:
        raise SystemExit("the models do not agree")
    raw = torch.randint(0, LEVELS, (options.batch_size, 3, options.side, options.side))
    sample, train = sampling(model, released, noise), training(model, released, raw)
    ratios = [
        compare(f"sampling {options.images} images ({sizes})", sample, options),
        compare(f"training step of {options.batch_size} images ({sizes})", train, options),
        *compare_lengths(options),
    ]
    if options.profile:
        for run in (sample[0], train[0]):
            profile(run, options.profile)
    return ratios


if __name__ == "__main__":
    main()
