"""DenseFlow's densely connected blocks: units, and the noise channels added between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from flowbench_models.bijections.base import Bijection, sum_event_dims
from flowbench_models.bijections.bounded_affine import BoundedAffine
from flowbench_models.nets.conditioner import Conditioner
from flowbench_models.nets.plain_conv import PlainConv2d

HIDDEN_FACTOR = 4
"""Hidden channels of a noise network for each channel it reads; released code."""


class NoiseNet(Conditioner):
    """Convolution 3x3, ReLU, and a zero-initialised 1x1 convolution.

    Args:
        num_inputs: Channels read.
        num_channels: Noise channels k; there are 2k outputs.
    """

    def __init__(self, num_inputs: int, num_channels: int) -> None:
        super().__init__()
        hidden = HIDDEN_FACTOR * num_inputs
        self.layers = nn.Sequential(
            PlainConv2d(num_inputs, hidden, 3, rectify=True),
            PlainConv2d(hidden, 2 * num_channels, zero=True),
        )

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, num_inputs, H, W) to (B, 2 * num_channels, H, W)."""
        parameters: Tensor = self.layers(h)
        return parameters


class CrossUnitCoupling(nn.Module):
    r"""Appends k channels of noise, :math:`z \mapsto (z, \mu + \sigma \odot e)`.

    Mean and scale come from earlier representations, :math:`(\mu, \sigma) = g(z_{<i})`, so that
    :math:`\mathrm{ladj} = \sum \log \sigma`; the log-density of e itself, which the flow's
    log-weight subtracts, is accounted for where e is drawn. Without a network it is white noise,
    :math:`z \mapsto (z, e)`. The inverse drops the channels and needs no noise.

    Args:
        net: Maps representations, concatenated along channels, to (B, 2k, H, W); None for white
            noise.
        only_last: Whether the network sees the last of the earlier representations alone.

    References:
        Grcic et al. (2021), Densely connected normalizing flows,
        https://arxiv.org/abs/2106.04627, section 3.1, eq. 7-9.
    """

    def __init__(self, net: NoiseNet | None, *, only_last: bool = False) -> None:
        super().__init__()
        self.net = net
        self.only_last = only_last
        self.law = BoundedAffine()

    def forward(self, x: Tensor, earlier: Sequence[Tensor], noise: Tensor) -> tuple[Tensor, Tensor]:
        """Appends noise.

        Args:
            x: The current representation, shape (B, C, H, W).
            earlier: Those before it, in order, each (B, C_j, H, W).
            noise: Standard normal e, shape (B, k, H, W).

        Returns:
            Shape (B, C + k, H, W), and ladj with respect to (x, e), shape (B,), in nats.
        """
        if self.net is None:
            return torch.cat((x, noise), dim=1), x.new_zeros(x.shape[0])
        seen = earlier[-1:] if self.only_last else earlier
        parameters: Tensor = self.net(torch.cat(list(seen), dim=1)).to(x.dtype)
        appended, log_scale = self.law(noise, parameters)
        return torch.cat((x, appended), dim=1), sum_event_dims(log_scale)


class DenseFlowBlock(nn.Module):
    r"""Units of growing width, :math:`z_i = m_i([z_{i-1}, \mu_i + \sigma_i \odot e_i])`.

    The noise before unit i is conditioned on the block's input and the outputs of units 0 to
    i - 2: on every earlier representation but the current one, as in the released code.

    Args:
        units: One bijection a unit; unit i > 0 takes k channels more than unit i - 1.
        augmentations: What is added before each unit but the first.
        growth: Noise channels k.
    """

    def __init__(
        self, units: Sequence[Bijection], augmentations: Sequence[CrossUnitCoupling], growth: int
    ) -> None:
        super().__init__()
        self.units = nn.ModuleList(units)
        self.augmentations = nn.ModuleList(augmentations)
        self.growth = growth

    @property
    def num_noises(self) -> int:
        """Number of noise tensors that the block takes."""
        return len(self.augmentations)

    def forward(self, x: Tensor, noises: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Maps data and noise to latent.

        Args:
            x: Data, shape (B, C, H, W).
            noises: Standard normal, ``num_noises`` tensors of shape (B, k, H, W).

        Returns:
            z, shape (B, C + num_noises * k, H, W), and ladj of the joint map, shape (B,), in nats.
        """
        return self._walk(x, noises, lambda unit, value: unit(value))

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data; what becomes of the noise is dropped."""
        for index, unit in reversed(list(enumerate(self._flow_units()))):
            z = unit.inverse(z)
            if index and self.num_noises:
                z = z[:, : z.shape[1] - self.growth]
        return z

    def initialize(self, x: Tensor, noises: Sequence[Tensor]) -> Tensor:
        """Initialises unit by unit from a first batch; returns the latent."""

        def through(unit: Bijection, value: Tensor) -> tuple[Tensor, Tensor]:
            return unit.initialize(value), value.new_zeros(value.shape[0])

        return self._walk(x, noises, through)[0]

    def _walk(
        self,
        x: Tensor,
        noises: Sequence[Tensor],
        through: Callable[[Bijection, Tensor], tuple[Tensor, Tensor]],
    ) -> tuple[Tensor, Tensor]:
        earlier: list[Tensor] = []
        ladj = x.new_zeros(x.shape[0])
        for index, unit in enumerate(self._flow_units()):
            current = x
            if index and self.num_noises:
                x, term = self.augmentations[index - 1](x, earlier, noises[index - 1])
                ladj = ladj + term
            x, term = through(unit, x)
            ladj = ladj + term
            earlier.append(current)
        return x, ladj

    def _flow_units(self) -> list[Bijection]:
        return cast("list[Bijection]", list(self.units))
