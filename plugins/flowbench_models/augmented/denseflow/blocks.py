"""What DenseFlow is built of: units, and noise channels between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from flowbench_models.augmented.denseflow.networks import run_checkpointed
from flowbench_models.bijections.base import Bijection, BoundedAffine, sum_event_dims
from flowbench_models.bijections.channels import FlowStep, FlowSteps
from flowbench_models.nets.convolution import Conditioner, PlainConv2d


class FlowUnit(FlowSteps):
    """Invertible modules of one shape: actnorm, 1x1 convolution, coupling that exchanges halves.

    Args:
        checkpointing: Whether the couplings' networks are recomputed in the backward pass.

    Example:
        >>> from flowbench_models.augmented.denseflow.networks import PlainConvNet
        >>> from flowbench_models.bijections.base import HalfCoupling
        >>> from flowbench_models.bijections.channels import ActNorm, FullConv1x1
        >>> net = PlainConvNet(2, 4, width=8)
        >>> coupling = HalfCoupling(BoundedAffine(), net, swap=False, exchange=True)
        >>> unit = FlowUnit([FlowStep(ActNorm(4), FullConv1x1(4), coupling)])
        >>> x = torch.randn(3, 4, 2, 2)
        >>> z, ladj = unit(x)
        >>> torch.allclose(unit.inverse(z), x, atol=1e-5)
        True

    References:
        Grcic et al. (2021), Densely connected normalizing flows,
        https://arxiv.org/abs/2106.04627, section 3.2 and figure 2.
    """

    def __init__(self, modules: Iterable[FlowStep], *, checkpointing: bool = False) -> None:
        super().__init__(modules)
        self.checkpointing = checkpointing

    def conditioners(self) -> Sequence[Callable[[Tensor], Tensor]]:
        """The couplings' networks."""
        nets = super().conditioners()
        # In evaluation no backward pass comes, and batch norms have fixed statistics.
        if self.checkpointing and self.training:
            return [partial(run_checkpointed, cast(nn.Module, net)) for net in nets]
        return nets


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

    Example:
        >>> x, noise = torch.zeros(1, 2, 1, 1), torch.ones(1, 1, 1, 1)
        >>> widened, _ = CrossUnitCoupling(NoiseNet(2, 1))(x, [x], noise)
        >>> widened.detach().flatten()  # white noise, at the start
        tensor([0., 0., 1.])

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
        # A slice in both cases: the network takes a list.
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
                # The noise is at the end, where it was appended, and is of no more use.
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
            # What enters the unit counts as an earlier representation for the next unit, not for
            # its own noise.
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
