"""Log-densities of the targets, up to their normalisers; in torch, for models follow gradients."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowbench_datasets.planar import GAUSSIAN_STD, gaussian_centres
from flowbench_datasets.targets import (
    BANANA_BEND,
    BANANA_SPREAD,
    BANANA_STD,
    CREST_STD,
    MODE_DISTANCE,
    MODE_STD,
    RING_RADIUS,
    RING_STD,
    WAVE_LENGTH,
    WAVE_STD,
)


def two_modes_log_density(x: Tensor) -> Tensor:
    r"""Two modes on a ring, :math:`-U_1` of Rezende and Mohamed (2015), table 1.

    Args:
        x: Points, shape (N, 2).

    Returns:
        Log-density up to a constant, shape (N,), in nats.
    """
    ring: Tensor = -0.5 * ((torch.linalg.vector_norm(x, dim=1) - RING_RADIUS) / RING_STD) ** 2
    left, right = (-0.5 * ((x[:, 0] - c) / MODE_STD) ** 2 for c in (-MODE_DISTANCE, MODE_DISTANCE))
    return ring + torch.logaddexp(left, right)


def eight_gaussians_log_density(x: Tensor) -> Tensor:
    """The sum of eight Gaussians, each 1 at its centre; see `two_modes_log_density`."""
    centres = torch.from_numpy(gaussian_centres()).to(x)
    squares = (x[:, None] - centres).square().sum(dim=2)
    return torch.logsumexp(-0.5 * squares / GAUSSIAN_STD**2, dim=1)


def wave_log_density(x: Tensor) -> Tensor:
    r"""A Gaussian about a sine, whose crest is a Gaussian, too; see `two_modes_log_density`.

    :math:`-U_2` of Rezende and Mohamed (2015), table 1, and a Gaussian along the first axis.
    """
    crest = torch.sin(2.0 * math.pi * x[:, 0] / WAVE_LENGTH)
    along, across = x[:, 0] / CREST_STD, (x[:, 1] - crest) / WAVE_STD
    return -0.5 * (along.square() + across.square())


def banana_log_density(x: Tensor) -> Tensor:
    """A Gaussian about a parabola; see `two_modes_log_density`."""
    bent = BANANA_BEND * (x[:, 0].square() - BANANA_STD**2)
    along, across = x[:, 0] / BANANA_STD, (x[:, 1] - bent) / BANANA_SPREAD
    return -0.5 * (along.square() + across.square())
