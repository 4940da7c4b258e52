"""Gradient checkpointing: recomputing a network in the backward pass instead of keeping it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def run_checkpointed(
    net: nn.Module, h: Tensor, run: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Runs a network without keeping its activations for the backward pass.

    Values, gradients and batch-norm statistics are those of a plain run. Only a network without
    batch norms can be compiled so: `torch.compile` refuses the context that keeps their statistics.

    Args:
        net: The network.
        h: Its input.
        run: Runs it in another way, such as with weights that were folded before.

    Returns:
        ``net(h)``, or ``run(h)``.
    """
    run = run or net
    out: Tensor
    if not torch.is_grad_enabled():
        out = run(h)
    elif not _batch_norms(net):
        out = checkpoint(run, h, use_reentrant=False)
    else:
        out = checkpoint(
            run, h, use_reentrant=False, context_fn=lambda: (nullcontext(), frozen_statistics(net))
        )
    return out


@contextmanager
def frozen_statistics(net: nn.Module) -> Iterator[None]:
    """Keeps batch norms in training mode from moving their running statistics a second time.

    They still run as before, so that a recomputation saves the same tensors.

    Args:
        net: Where they are.

    Yields:
        Nothing.
    """
    norms = _batch_norms(net)
    momenta = [norm.momentum for norm in norms]
    counts = [_count(norm).clone() for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum = momentum
            _count(norm).copy_(count)


def _batch_norms(net: nn.Module) -> list[_BatchNorm]:
    return [module for module in net.modules() if isinstance(module, _BatchNorm)]


def _count(norm: _BatchNorm) -> Tensor:
    """Number of batches seen, which grows whatever the momentum."""
    return cast(Tensor, norm.num_batches_tracked)
