r"""Denoising by the score: from a sample of noisy data to its posterior mean.

For :math:`y = x + \sigma\epsilon` with density p, :math:`E[x \mid y] = y + \sigma^2 \nabla_y \log
p(y)` (Tweedie's formula), which is exact for the p that the model learned.

References:
    Zhai et al. (2024), Normalizing Flows are Capable Generative Models,
    https://arxiv.org/abs/2412.06329, section 3.3;
    Efron (2011), Tweedie's Formula and Selection Bias, https://doi.org/10.1198/jasa.2011.tm11181.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def denoise(y: Tensor, sigma: float, log_prob: Callable[[Tensor], Tensor]) -> Tensor:
    """Posterior mean of each example, in one pass over the batch.

    Args:
        y: Noisy examples, shape (B, *event_shape).
        sigma: Standard deviation of their noise.
        log_prob: Log-density of noisy examples, shape (B,), in nats; each depends on its own
            example alone.

    Returns:
        Shape (B, *event_shape).
    """
    with torch.enable_grad():
        leaf = y.detach().requires_grad_()
        (score,) = torch.autograd.grad(log_prob(leaf).sum(), leaf)
    return y + sigma**2 * score


@contextmanager
def held_fixed(module: nn.Module) -> Iterator[None]:
    """Parameters need no gradients inside the block, so that a score costs none of theirs.

    Args:
        module: The module that holds them.

    Yields:
        Nothing.
    """
    learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_()
