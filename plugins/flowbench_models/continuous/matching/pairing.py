"""Pairs of noise and data by optimal transport between batches."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def optimal_pairs(noise: Tensor, data: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Draws as many pairs as there are rows from the optimal plan between two batches.

    The plan moves equal masses at the least sum of squared distances; pairs are drawn from it with
    replacement, by which a row may come twice or not at all.

    Args:
        noise: Shape (B, ...).
        data: Shape (B, ...).
        seed: Of the draw, on the host.

    Returns:
        Rows of the noise and of the data that are paired, each of shape (B,).

    Raises:
        ImportError: POT is not installed.

    References:
        Tong et al. (2024), Improving and generalizing flow-based generative models with minibatch
        optimal transport, https://arxiv.org/abs/2302.00482, section 3.2.4.
    """
    try:
        import ot
    except ImportError as exc:
        reason = "optimal pairs need POT; pip install 'flowbench[ot]'"
        raise ImportError(reason) from exc

    distances = torch.cdist(noise.flatten(1), data.flatten(1)).square()
    count = len(noise)
    mass = np.full(count, 1 / count)
    plan = ot.emd(mass, mass, distances.detach().double().cpu().numpy())
    chances = plan.ravel() / plan.sum()
    drawn = np.random.default_rng(seed).choice(count * count, size=count, p=chances)
    rows, columns = (torch.from_numpy(part).to(data.device) for part in divmod(drawn, count))
    return rows, columns
