r"""Manifolds that data may lie on: a dataset names one, ``"flowbench.api.manifolds:SPHERE"``.

Points are written as an example holds them: unit vectors on the sphere, angles on a torus, and
rotations as unit quaternions, of which q and -q are the same rotation. Volumes are those of these
coordinates: rotations have half the volume :math:`2 \pi^2` of the sphere of quaternions.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowbench.api.data import Chart, Manifold
from flowbench.api.mass import LogDensity, Mass
from flowbench.errors import ConfigError

OFF = 1e-5
"""How far the norm of a unit vector may be off 1."""


def _unit(num: int, num_dims: int, rng: np.random.Generator) -> NDArray[np.float64]:
    normal = rng.standard_normal((num, num_dims))
    return np.asarray(normal / np.linalg.norm(normal, axis=1, keepdims=True))


def _is_unit(x: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(np.abs(np.linalg.norm(x.astype(np.float64), axis=-1) - 1.0) <= OFF)


def _is_angle(x: NDArray[Any]) -> NDArray[np.bool_]:
    # A float32 just below a full turn may be rounded up to it.
    return np.asarray(((x >= 0) & (x <= 2 * np.pi + OFF)).all(axis=-1))


def _to_map(x: NDArray[Any]) -> NDArray[Any]:
    """Longitude and height of points on the sphere: the map that keeps areas."""
    return np.stack([np.arctan2(x[:, 1], x[:, 0]), x[:, 2]], axis=1)


def _from_map(places: NDArray[Any]) -> NDArray[Any]:
    longitude, height = places.T
    radius = np.sqrt(np.clip(1.0 - height**2, 0.0, None))
    return np.stack([radius * np.cos(longitude), radius * np.sin(longitude), height], axis=1)


def _turned_pole(q: NDArray[Any]) -> NDArray[Any]:
    """Where rotations take the north pole."""
    w, x, y, z = q.T
    return np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x**2 + y**2)], axis=1)


GLOBE = ((-math.pi, math.pi), (-1.0, 1.0))
TURN = (0.0, 2 * math.pi)

SPHERE = Manifold(
    name="sphere",
    dim=2,
    volume=4 * math.pi,
    sample_uniform=lambda num, rng: _unit(num, 3, rng),
    contains=_is_unit,
    chart=Chart(ends=GLOBE, to_plane=_to_map, from_plane=_from_map),
)
TORUS = Manifold(
    name="torus",
    dim=2,
    volume=(2 * math.pi) ** 2,
    sample_uniform=lambda num, rng: rng.uniform(0, 2 * np.pi, (num, 2)),
    contains=_is_angle,
    chart=Chart(ends=(TURN, TURN), to_plane=lambda x: x, from_plane=lambda x: x),
)
ROTATIONS = Manifold(
    name="rotations",
    dim=3,
    volume=math.pi**2,
    sample_uniform=lambda num, rng: _unit(num, 4, rng),
    contains=_is_unit,
    chart=Chart(ends=GLOBE, to_plane=lambda q: _to_map(_turned_pole(q))),
)


def manifold_of(reference: str) -> Manifold:
    """The manifold that a dataset names.

    Args:
        reference: ``"module:name"``.

    Raises:
        ConfigError: There is no such manifold.

    Example:
        >>> manifold_of("flowbench.api.manifolds:SPHERE").dim
        2
    """
    module, _, name = reference.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as exc:
        raise ConfigError(f"there is no manifold {reference!r} ({exc}); name a Manifold") from exc
    if not isinstance(found, Manifold):
        raise ConfigError(f"{reference!r} is a {type(found).__name__}; expected a Manifold")
    return found


def mass_on(
    manifold: Manifold, log_prob: LogDensity, generator: np.random.Generator, num_points: int
) -> Mass:
    """Integrates a density over a manifold: its volume times the mean density at uniform points.

    Args:
        log_prob: Log-densities in nats with respect to the manifold's volume, shape (N,), at points
            of shape (N, D).
        generator: Source of the points.

    Returns:
        The integral and its standard error.

    Example:
        >>> def uniform(x):
        ...     return np.full(len(x), -math.log(SPHERE.volume))
        >>> round(mass_on(SPHERE, uniform, np.random.default_rng(0), 100).value, 6)
        1.0
    """
    points = np.asarray(manifold.sample_uniform(num_points, generator), dtype=np.float64)
    density = manifold.volume * np.exp(np.asarray(log_prob(points), dtype=np.float64))
    return Mass(float(density.mean()), float(density.std()) / math.sqrt(num_points), num_points)
