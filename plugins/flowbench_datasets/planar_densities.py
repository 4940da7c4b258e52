"""True densities of the planar datasets that have one: the floor of every honest nll."""

from __future__ import annotations

import math

import numpy as np

from flowbench_datasets.planar import (
    GAUSSIAN_STD,
    MOON_NOISE,
    MOON_SCALE,
    MOON_SHIFT,
    Points,
    gaussian_centres,
    moon_arcs,
)

CHECKERBOARD_AREA = 32.0  # eight squares of side 2
ARC_NODES = 200  # midpoint rule over an arc; its spacing is far below the noise


def checkerboard_log_density(x: Points) -> Points:
    """Log-density of the checkerboard, -ln 32 on its squares; its entropy is ln 32 = 3.4657 nats.

    Args:
        x: Points, shape (N, 2).

    Returns:
        Log-density in nats, shape (N,); -inf off the squares.
    """
    cell = np.floor(x / 2.0)
    inside = (cell.sum(axis=1) % 2 == 0) & (np.abs(x) <= 4.0).all(axis=1)
    return np.where(inside, -math.log(CHECKERBOARD_AREA), -np.inf)


def eight_gaussians_log_density(x: Points) -> Points:
    """Log-density of the mixture of eight Gaussians.

    Args:
        x: Points, shape (N, 2).

    Returns:
        Log-density in nats, shape (N,).
    """
    return _log_mixture(x, gaussian_centres(), GAUSSIAN_STD)


def two_moons_log_density(x: Points) -> Points:
    """Log-density of the two moons, by quadrature over the arcs.

    Args:
        x: Points, shape (N, 2).

    Returns:
        Log-density in nats, shape (N,), to 0.004; its mean over points to 1e-5.
    """
    angle = math.pi * (np.arange(ARC_NODES) + 0.5) / ARC_NODES
    arcs = [moon_arcs(angle, np.full(ARC_NODES, upper)) for upper in (True, False)]
    unit = (x - MOON_SHIFT) / MOON_SCALE
    return _log_mixture(unit, np.concatenate(arcs), MOON_NOISE) - 2.0 * math.log(MOON_SCALE)


def _log_mixture(x: Points, centres: Points, std: float) -> Points:
    """Log-density of an equal mixture of isotropic Gaussians, shape (N,)."""
    squares = np.square(x[:, None] - centres).sum(axis=2)  # (N, M)
    nearest = squares.min(axis=1, keepdims=True)
    mass = np.exp(-0.5 * (squares - nearest) / std**2).mean(axis=1)
    log_density: Points = (
        np.log(mass) - 0.5 * nearest[:, 0] / std**2 - math.log(2.0 * math.pi * std**2)
    )
    return log_density
