"""Geodesics of the manifolds that a flow is matched on, for tensors."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

NOWHERE = 1e-15
"""Length below which a direction is none."""


class Geometry(ABC):
    """A manifold as the coordinates of its points say it; points and vectors are (B, D)."""

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """The nearest point."""

    @abstractmethod
    def tangent(self, x: Tensor, v: Tensor) -> Tensor:
        """The part of a vector along the manifold at a point."""

    @abstractmethod
    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        """Where a geodesic ends that starts at x with the velocity v, after a time of 1."""

    @abstractmethod
    def log(self, x: Tensor, y: Tensor) -> Tensor:
        """The velocity of the shortest geodesic from x to y."""

    @abstractmethod
    def velocity(self, x: Tensor, v: Tensor, t: Tensor) -> Tensor:
        """The velocity of a geodesic at times (B, 1), that starts at x with the velocity v."""

    @abstractmethod
    def uniform(self, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Uniform points, as many and of the type of those given."""

    def features(self, x: Tensor) -> Tensor:
        """Smooth functions on the manifold that tell a point."""
        return x

    def field(self, x: Tensor, out: Tensor) -> Tensor:
        """A vector field from what a network says of a point's features."""
        return self.tangent(x, out)

    def num_outputs(self, num_dims: int) -> int:
        """How many numbers `field` takes at a point."""
        return num_dims


def _length(v: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(v, dim=-1, keepdim=True)
    return length


class Sphere(Geometry):
    """Unit vectors, of any dimension."""

    def project(self, x: Tensor) -> Tensor:
        """The unit vector of the same direction."""
        return x / _length(x)

    def tangent(self, x: Tensor, v: Tensor) -> Tensor:
        """Without the part along x."""
        return v - (x * v).sum(dim=-1, keepdim=True) * x

    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        """Along the great circle of x and v."""
        angle = _length(v)
        # sin(a) / a as torch's sinc, whose argument is in half turns: it has no hole at 0.
        return self.project(angle.cos() * x + torch.sinc(angle / math.pi) * v)

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        """Along the great circle to y; of opposite points, which have many, any."""
        towards = self.tangent(x, y)
        sine = _length(towards)
        cosine = (x * y).sum(dim=-1, keepdim=True)
        return torch.atan2(sine, cosine) * towards / sine.clamp_min(NOWHERE)

    def velocity(self, x: Tensor, v: Tensor, t: Tensor) -> Tensor:
        """The velocity, turned along the great circle."""
        speed = _length(v)
        return (t * speed).cos() * v - speed * (t * speed).sin() * x

    def uniform(self, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Directions of normal vectors."""
        noise = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
        return self.project(noise)


class Rotations(Sphere):
    """Unit quaternions, of which q and -q are one rotation: all that is told of them is even."""

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        """To the nearer of the two quaternions of a rotation."""
        nearer = torch.where((x * y).sum(dim=-1, keepdim=True) < 0, -y, y)
        return super().log(x, nearer)

    def features(self, x: Tensor) -> Tensor:
        """Products of all pairs of components, which -q has as well."""
        rows, columns = torch.triu_indices(x.shape[-1], x.shape[-1], device=x.device)
        return x[:, rows] * x[:, columns]

    def field(self, x: Tensor, out: Tensor) -> Tensor:
        """A matrix that is even times x, and so odd: of -q the velocity of -q."""
        matrix = out.unflatten(-1, (x.shape[-1], x.shape[-1]))
        return self.tangent(x, (matrix @ x[..., None]).squeeze(-1))

    def num_outputs(self, num_dims: int) -> int:
        """The matrix's."""
        return num_dims**2


class Torus(Geometry):
    """Angles from 0 to a full turn, flat.

    Args:
        periodic: Tell cosines and sines of the angles, rather than these, which jump.
    """

    def __init__(self, *, periodic: bool) -> None:
        self._periodic = periodic

    def project(self, x: Tensor) -> Tensor:
        """Whole turns taken off."""
        return x.remainder(2 * math.pi)

    def tangent(self, x: Tensor, v: Tensor) -> Tensor:
        """All of it."""
        del x
        return v

    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        """Straight on."""
        return self.project(x + v)

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        """The shorter way round, in each angle."""
        return (y - x + math.pi).remainder(2 * math.pi) - math.pi

    def velocity(self, x: Tensor, v: Tensor, t: Tensor) -> Tensor:
        """The same all along."""
        del x, t
        return v

    def uniform(self, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Uniform angles."""
        part = torch.rand(like.shape, generator=generator, dtype=like.dtype, device=like.device)
        return 2 * math.pi * part

    def features(self, x: Tensor) -> Tensor:
        """Cosines and sines, or the angles."""
        return torch.cat((x.cos(), x.sin()), dim=-1) if self._periodic else self.project(x)


def geometry(name: str, *, periodic: bool) -> Geometry | None:
    """The geometry of a manifold by its name; None for one that is not known."""
    known: dict[str, Geometry] = {
        "sphere": Sphere(),
        "rotations": Rotations(),
        "torus": Torus(periodic=periodic),
    }
    return known.get(name)
