"""The base of all bijections, and their composition."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import Tensor, nn


class Bijection(nn.Module):
    r"""An invertible map :math:`z = f(x)` between tensors whose batch axis is the first.

    ``forward`` maps data to latent, ``inverse`` latent to data. Only ``forward`` gives the ladj:
    likelihoods never run a flow backwards, and sampling does not need it.
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latent.

        Args:
            x: Data, shape (B, ...).

        Returns:
            z, and ladj = log |det dz/dx| summed over event dims, shape (B,), in nats.
        """
        raise NotImplementedError

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data.

        Args:
            z: Latent, as ``forward`` returns it.

        Returns:
            x, up to rounding what ``forward`` was given.
        """
        raise NotImplementedError

    def initialize(self, x: Tensor) -> Tensor:
        """Sets whatever depends on data from a first batch; by default there is nothing to set.

        Args:
            x: Data, shape (B, ...).

        Returns:
            z of the initialised map, so that the next bijection can be initialised from it.
        """
        z: Tensor = self(x)[0]
        return z


class Composition(Bijection):
    r"""Bijections one after the other, :math:`f = f_n \circ \dots \circ f_1`; their ladj add up.

    Args:
        bijections: In the order from data to latent.
    """

    def __init__(self, bijections: Iterable[Bijection]) -> None:
        super().__init__()
        self.bijections = nn.ModuleList(bijections)

    def _parts(self) -> list[Bijection]:
        return cast("list[Bijection]", list(self.bijections))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latent; see `Bijection.forward`."""
        ladj = x.new_zeros(x.shape[0])
        for bijection in self._parts():
            x, term = bijection(x)
            ladj = ladj + term
        return x, ladj

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data, the last bijection first."""
        for bijection in reversed(self._parts()):
            z = bijection.inverse(z)
        return z

    def initialize(self, x: Tensor) -> Tensor:
        """Initialises each bijection from the output of those before it."""
        for bijection in self._parts():
            x = bijection.initialize(x)
        return x


def sum_event_dims(values: Tensor) -> Tensor:
    """Sums over all axes but the first, without the copy that flattening channels-last would make.

    Args:
        values: Shape (B, ...), at least two axes.

    Returns:
        The sums, shape (B,).
    """
    return values.sum(dim=tuple(range(1, values.ndim)))
