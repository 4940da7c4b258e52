r"""Coupling: a part of the elements passes, and says how the others are transformed.

.. math:: z_a = x_a, \qquad z_b = f(x_b;\, \theta(x_a)), \qquad
          \mathrm{ladj} = \sum_i \log \partial f(x_{b,i}) / \partial x_{b,i}

References:
    Dinh et al. (2014), NICE, https://arxiv.org/abs/1410.8516, section 3.2;
    Dinh et al. (2017), Density estimation using Real NVP, https://arxiv.org/abs/1605.08803,
    sections 3.2-3.4.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flowbench_models.bijections.base import Bijection, sum_event_dims
from flowbench_models.bijections.elementwise import ElementwiseMap
from flowbench_models.nets.conditioner import Conditioner


def half_sizes(num_channels: int, *, swap: bool) -> tuple[int, int]:
    """Sizes of the two parts of a `HalfCoupling`; of an odd number the first half gets the rest.

    Args:
        num_channels: Size C of axis 1.
        swap: As in `HalfCoupling`.

    Returns:
        Number of channels that condition, and number of channels that are transformed.
    """
    second = num_channels // 2
    first = num_channels - second
    return (second, first) if swap else (first, second)


class HalfCoupling(Bijection):
    """Coupling between the two halves of axis 1: of channels, or of a vector's elements.

    Args:
        law: What happens to each transformed element.
        conditioner: Maps the conditioning half (B, C_a, ...) to (B, num_parameters * C_b, ...).
        swap: Whether the second half conditions the first, rather than the first the second.
    """

    def __init__(self, law: ElementwiseMap, conditioner: Conditioner, *, swap: bool) -> None:
        super().__init__()
        self.law = law
        self.conditioner = conditioner
        self.swap = swap

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, ...) to latent; see `Bijection.forward`."""
        z, log_derivative = self.couple(x, self.conditioner)
        return z, sum_event_dims(log_derivative)

    def couple(self, x: Tensor, conditioner: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Maps data to latent with another conditioner, such as the own one in another form.

        Args:
            x: Data, shape (B, C, ...).
            conditioner: Maps the conditioning half to parameters.

        Returns:
            z, and log dz/dx of each transformed element, shape (B, C_b, ...), in nats.
        """
        conditioning, transformed = self._split(x)
        parameters = conditioner(conditioning).to(x.dtype)
        transformed, log_derivative = self.law(transformed, parameters)
        return self._merge(conditioning, transformed), log_derivative

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        conditioning, transformed = self._split(z)
        parameters = self.conditioner(conditioning).to(z.dtype)
        return self._merge(conditioning, self.law.inverse(transformed, parameters))

    def initialize(self, x: Tensor) -> Tensor:
        """Initialises the conditioner from the half that it sees."""
        conditioning, _ = self._split(x)
        self.conditioner.initialize(conditioning)
        z: Tensor = self(x)[0]
        return z

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        second = x.shape[1] // 2
        a, b = torch.split(x, [x.shape[1] - second, second], dim=1)
        return (b, a) if self.swap else (a, b)

    def _merge(self, conditioning: Tensor, transformed: Tensor) -> Tensor:
        parts = (transformed, conditioning) if self.swap else (conditioning, transformed)
        return torch.cat(parts, dim=1)


class MaskedCoupling(Bijection):
    """Coupling whose parts are told apart by a mask, such as a checkerboard.

    Args:
        law: What happens to each transformed element.
        conditioner: Maps the data, with zeros in the place of transformed elements, to parameters
            for all elements, (B, num_parameters * C, ...).
        mask: 1 for elements that pass and condition, 0 for those that are transformed; broadcasts
            against the event shape.
    """

    mask: Tensor

    def __init__(self, law: ElementwiseMap, conditioner: Conditioner, mask: Tensor) -> None:
        super().__init__()
        self.law = law
        self.conditioner = conditioner
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, ...) to latent; see `Bijection.forward`."""
        passing = x * self.mask
        parameters = self.conditioner(passing).to(x.dtype)
        transformed, log_derivative = self.law(x, parameters)
        free = 1.0 - self.mask
        return passing + free * transformed, sum_event_dims(free * log_derivative)

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        passing = z * self.mask
        parameters = self.conditioner(passing).to(z.dtype)
        return passing + (1.0 - self.mask) * self.law.inverse(z, parameters)

    def initialize(self, x: Tensor) -> Tensor:
        """Initialises the conditioner from the elements that it sees."""
        self.conditioner.initialize(x * self.mask)
        z: Tensor = self(x)[0]
        return z


def checkerboard_mask(height: int, width: int, *, even: bool) -> Tensor:
    """The spatial checkerboard of RealNVP.

    Args:
        height: Number of rows H.
        width: Number of columns W.
        even: Whether positions with even row + column are the ones marked.

    Returns:
        1 at marked positions and 0 elsewhere, shape (1, H, W).
    """
    rows, columns = torch.arange(height).view(-1, 1), torch.arange(width).view(1, -1)
    return ((rows + columns) % 2 == (0 if even else 1)).to(torch.get_default_dtype()).unsqueeze(0)
