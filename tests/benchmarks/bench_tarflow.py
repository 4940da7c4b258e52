"""What the key/value cache saves when a TarFlow is sampled, and how its time grows with tokens.

    python tests/benchmarks/bench_tarflow.py --rounds 5

Without a cache, each token is the last output of a pass over all tokens before it. Both ways take
turns in one process, on one thread, so that a slow moment of the machine hits both; reported are
seconds of process time, the median of the pairwise ratios, and microseconds a token by length.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from flowbench_models.autoregressive.tarflow.blocks import AutoregressiveBlock
from flowbench_models.autoregressive.tarflow.config import TarFlowConfig

TOKEN_DIMS = 12  # patches of 2x2 RGB pixels
SEED = 0


def block_of(width: int, layers: int, num_tokens: int) -> AutoregressiveBlock:
    """A block whose parameters depend on its tokens."""
    torch.manual_seed(SEED)
    config = TarFlowConfig(width=width, layers=layers)
    block = AutoregressiveBlock(config, num_tokens, TOKEN_DIMS, 0)
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


def seconds(inverse: Callable[[AutoregressiveBlock, Tensor], Tensor], *given: object) -> float:
    """Process time of one call, which other work on the machine moves least."""
    start = time.process_time()
    inverse(*given)  # type: ignore[arg-type]
    return time.process_time() - start


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--tokens", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("tokens   cached s  us a token   uncached s   cached / uncached")
    for num_tokens in given.tokens:
        block = block_of(given.width, given.layers, num_tokens)
        z = torch.randn(given.batch_size, num_tokens, TOKEN_DIMS)
        error = float((cached(block, z) - uncached(block, z)).abs().max())
        pairs = [
            (seconds(cached, block, z), seconds(uncached, block, z)) for _ in range(given.rounds)
        ]
        with_cache, without = np.median(pairs, axis=0)
        ratio = np.median([a / b for a, b in pairs])
        each = 1e6 * with_cache / num_tokens
        print(
            f"{num_tokens:6d} {with_cache:10.3f} {each:11.0f} {without:12.3f} {ratio:12.3f}"
            f"   (largest difference {error:.1e})"
        )


if __name__ == "__main__":
    main()
