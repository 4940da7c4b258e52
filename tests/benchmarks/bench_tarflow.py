"""What the key/value cache saves when a TarFlow is sampled, and how its time grows with tokens.

    python -m tests.benchmarks.bench_tarflow --rounds 5

Without a cache, each token is the last output of a pass over all tokens before it. Reported are
seconds, the ratio, and microseconds a token by length.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from flowbench_models.autoregressive.tarflow.blocks import AutoregressiveBlock
from flowbench_models.autoregressive.tarflow.config import TarFlowConfig
from tests.benchmarks.ratios import Ratio, argument_parser, take_turns

TOKEN_DIMS = 12  # patches of 2x2 RGB pixels
SEED = 0


def block_of(width: int, layers: int, num_tokens: int) -> AutoregressiveBlock:
    """A block whose parameters depend on its tokens."""
    torch.manual_seed(SEED)
    config = TarFlowConfig(width=width, layers=layers)
    block = AutoregressiveBlock(config, num_tokens, TOKEN_DIMS, 0, num_layers=config.layers_of(0))
    torch.nn.init.normal_(block.net.read_out.weight, std=1e-2)
    return block.eval()


@torch.no_grad()
def uncached(block: AutoregressiveBlock, z: Tensor) -> Tensor:
    """The inverse, each token from a pass over all before it."""
    x = z.clone()
    for position in range(1, z.shape[1]):
        log_scale, mean = block.net(x[:, :position], None)[:, -1].chunk(2, dim=-1)
        x[:, position] = z[:, position] * log_scale.exp() + mean
    return x


def cached(block: AutoregressiveBlock, z: Tensor) -> Tensor:
    """The inverse as the model takes it."""
    return block.inverse(z, None, None, lambda _: None)


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Inverts a block both ways at each length, and prints the ratios."""
    parser = argument_parser(__doc__, rounds=3)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--tokens", type=int, nargs="+", default=[32, 64, 128, 256])
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    return [at_length(options, num_tokens) for num_tokens in options.tokens]


def at_length(options: argparse.Namespace, num_tokens: int) -> Ratio:
    """The ratio at one number of tokens."""
    block = block_of(options.width, options.layers, num_tokens)
    z = torch.randn(options.batch_size, num_tokens, TOKEN_DIMS)
    difference = float((cached(block, z) - uncached(block, z)).abs().max())
    cached_s, uncached_s = take_turns(
        lambda: cached(block, z), lambda: uncached(block, z), rounds=options.rounds, warm_up=0
    )
    sizes = f"{options.layers} layers, width {options.width}, batch {options.batch_size}"
    ratio = Ratio.of(f"cached / uncached, {num_tokens} tokens ({sizes})", cached_s, uncached_s)
    each = 1e6 * np.median(cached_s) / num_tokens
    print(f"{ratio}, {each:.0f} us a token with the cache, largest difference {difference:.1e}")
    return ratio


if __name__ == "__main__":
    main()
