"""What DenseFlow is built of: units, noise channels between them, and its dequantizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench_models.augmented.denseflow.networks import DenseBlock, PlainConv2d, run_checkpointed
from flowbench_models.bijections.base import (
    Bijection,
    ElementwiseMap,
    sum_event_dims,
)
from flowbench_models.bijections.channels import (
    FACTOR,
    FlowStep,
    FlowSteps,
    FullConv1x1,
    mix_channels,
)
from flowbench_models.nets.convolution import Conditioner, full_precision


class BoundedAffine(ElementwiseMap):
    r"""Affine law :math:`z = e^{s} x + t` with :math:`s = 2 \tanh(\hat s / 2)`, in (-2, 2).

    Example:
        >>> z, log_scale = BoundedAffine()(torch.ones(1, 1), torch.tensor([[1e6, 3.0]]))
        >>> z, log_scale  # of the largest raw scale
        (tensor([[10.3891]]), tensor([[2.]]))

    References:
        Grcic et al. (2021), Densely connected normalizing flows,
        https://arxiv.org/abs/2106.04627; the bound is that of the released code. There the raw
        scale is on even channels and the shift on odd ones, here they are halves: the same up to
        the order of a network's outputs.
    """

    num_parameters = 2

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latent; see `ElementwiseMap.forward`."""
        raw, shift = parameters.chunk(2, dim=1)
        # Slope 1 at 0, like no bound at all; a factor of e^2 either way is the most.
        log_scale = 2.0 * torch.tanh(0.5 * raw)
        return torch.addcmul(shift, log_scale.exp(), x), log_scale

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        """Maps latent to data."""
        raw, shift = parameters.chunk(2, dim=1)
        log_scale = 2.0 * torch.tanh(0.5 * raw)
        return (z - shift) * (-log_scale).exp()


class ChannelGaussian(Bijection):
    r"""Standardises by a learned mean and scale, :math:`z = (x - \mu)\,e^{-s}`, one a channel.

    Args:
        num_channels: Size C of axis 1.

    Example:
        >>> prior = ChannelGaussian(1)
        >>> prior.mean.data, prior.log_std.data = torch.tensor([3.0]), torch.tensor([math.log(2.0)])
        >>> z, ladj = prior(torch.full((1, 1, 1, 1), 5.0))
        >>> z.item(), ladj.detach()
        (1.0, tensor([-0.6931]))
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(num_channels))
        self.log_std = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, H, W) to latent; see `Bijection.forward`."""
        mean, log_std = self.mean.view(1, -1, 1, 1), self.log_std.view(1, -1, 1, 1)
        ladj = -x.shape[2] * x.shape[3] * self.log_std.sum()
        return (x - mean) * (-log_std).exp(), ladj.expand(x.shape[0])

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        return self.mean.view(1, -1, 1, 1) + z * self.log_std.view(1, -1, 1, 1).exp()


class FlowUnit(FlowSteps):
    """Invertible modules of one shape: actnorm, 1x1 convolution, coupling that exchanges halves.

    Args:
        checkpointing: Whether the couplings' networks are recomputed in the backward pass.

    Example:
        >>> from flowbench_models.augmented.denseflow.networks import PlainConvNet
        >>> from flowbench_models.bijections.base import HalfCoupling
        >>> from flowbench_models.bijections.channels import ActNorm
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


class LevelScaling(Bijection):
    r"""Maps [0, K] to [-1/2, 1/2], or by a logit to the real line.

    :math:`z = x / K - 1/2`, or :math:`z = \mathrm{logit}(\alpha + (1 - 2\alpha) x / K)`.

    Args:
        levels: Number K of levels.
        alpha: Keeps the logit's argument off 0 and 1; None leaves out the logit.

    Example:
        >>> LevelScaling(4, alpha=None)(torch.tensor([[0.0, 4.0]]))
        (tensor([[-0.5000,  0.5000]]), tensor([-2.7726]))
    """

    def __init__(self, levels: int, alpha: float | None) -> None:
        super().__init__()
        self.levels = levels
        self.alpha = alpha

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps dequantized levels of shape (B, ...) to the flow's space; see `Bijection`."""
        if self.alpha is None:
            ladj = x.new_full((x.shape[0],), -math.log(self.levels) * x[0].numel())
            return x / self.levels - 0.5, ladj
        slope = (1.0 - 2.0 * self.alpha) / self.levels
        z = torch.logit(self.alpha + slope * x)
        return z, sum_event_dims(math.log(slope) - F.logsigmoid(z) - F.logsigmoid(-z))

    def inverse(self, z: Tensor) -> Tensor:
        """Maps the flow's space to dequantized levels; outside [0, K] if z is far out."""
        if self.alpha is None:
            return (z + 0.5) * self.levels
        return (torch.sigmoid(z) - self.alpha) * (self.levels / (1.0 - 2.0 * self.alpha))


class LevelContext(nn.Module):
    """What the dequantizer sees of an image: two dense blocks around a halving of the size.

    Args:
        num_channels: Channels of the image.
        levels: Number K of levels.
        width: Channels out.
        depth: Layers of each dense block.
        growth: Channels that each layer appends.
    """

    def __init__(
        self, num_channels: int, *, levels: int, width: int, depth: int, growth: int
    ) -> None:
        super().__init__()
        self.levels = levels
        self.full_size = DenseBlock(num_channels, width, depth=depth, growth=growth)
        self.halve = nn.Conv2d(width, width, FACTOR, stride=FACTOR)
        self.half_size = DenseBlock(width, width, depth=depth, growth=growth)

    def forward(self, x: Tensor) -> Tensor:
        """Maps levels (B, C, H, W) to (B, width, H/2, W/2)."""
        # To [-1, 1] by the top level, which images reach, not by the number of levels.
        centred = 2.0 / (self.levels - 1) * x - 1.0
        context: Tensor = self.half_size(self.halve(self.full_size(centred)))
        return context


class ContextCoupling(nn.Module):
    r"""Coupling of channels with a context, :math:`z_b = f(x_b;\, \theta(x_a, c))`.

    Args:
        num_channels: Channels C of x, even.
        width: Channels of the context, and of the network.
        depth: Layers of the network's dense block.
        growth: Channels that each layer appends.
    """

    def __init__(self, num_channels: int, *, width: int, depth: int, growth: int) -> None:
        super().__init__()
        half = num_channels // 2
        self.law = BoundedAffine()
        self.net = nn.Sequential(
            PlainConv2d(half + width, width),
            DenseBlock(width, width, depth=depth, growth=growth, residual=True),
            PlainConv2d(width, 2 * half, zero=True),
        )

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Maps noise towards dequantization noise.

        Args:
            x: Shape (B, C, H, W).
            context: Shape (B, width, H, W).

        Returns:
            z, shape (B, C, H, W), and ladj of shape (B,), in nats.
        """
        passing, transformed = x.chunk(2, dim=1)
        parameters = self.net(torch.cat((passing, context.to(x.dtype)), dim=1)).to(x.dtype)
        transformed, log_scale = self.law(transformed, parameters)
        return torch.cat((passing, transformed), dim=1), sum_event_dims(log_scale)


class VariationalDequantizer(nn.Module):
    r"""Dequantization noise :math:`u = \sigma(g(\epsilon; x)) \in (0, 1)` given the levels x.

    The map from standard normal :math:`\epsilon` to u is a flow, so :math:`\log q(u \mid x) =
    \log N(\epsilon) - \mathrm{ladj}`: a learned Gaussian a channel, at half the image's size and
    four times its channels, then 1x1 convolutions and couplings in turn, the squeeze undone, and a
    sigmoid.

    Args:
        num_channels: Channels of the image.
        levels: Number K of levels.
        steps: Pairs of 1x1 convolution and coupling.
        width: Channels of the context and of the couplings' networks.
        depth: Layers of each dense block.
        growth: Channels that each layer of the couplings' networks appends.
        context_growth: Channels that each layer of the context's networks appends.

    Example:
        >>> dequantizer = VariationalDequantizer(
        ...     1, levels=17, steps=1, width=4, depth=1, growth=4, context_growth=4
        ... )
        >>> u, ladj = dequantizer(torch.full((1, 1, 4, 4), 16.0), torch.randn(1, 4, 2, 2))
        >>> u.shape, bool((0 < u).all() and (u < 1).all())
        (torch.Size([1, 1, 4, 4]), True)

    References:
        Ho et al. (2019), Flow++, https://arxiv.org/abs/1902.00275, section 3.1; the architecture
        is that of the released code of Grcic et al. (2021), Densely connected normalizing flows,
        https://arxiv.org/abs/2106.04627.
    """

    def __init__(
        self,
        num_channels: int,
        *,
        levels: int,
        steps: int,
        width: int,
        depth: int,
        growth: int,
        context_growth: int,
    ) -> None:
        super().__init__()
        squeezed = num_channels * FACTOR**2
        self.context = LevelContext(
            num_channels, levels=levels, width=width, depth=depth, growth=context_growth
        )
        self.base = ChannelGaussian(squeezed)
        self.mixings = nn.ModuleList(FullConv1x1(squeezed) for _ in range(steps + 1))
        self.couplings = nn.ModuleList(
            ContextCoupling(squeezed, width=width, depth=depth, growth=growth) for _ in range(steps)
        )

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Draws dequantization noise.

        Args:
            x: Levels, as floats, shape (B, C, H, W).
            noise: Standard normal, shape (B, 4C, H/2, W/2).

        Returns:
            u, shape (B, C, H, W), and ladj = log |det du/dnoise|, shape (B,), in nats.
        """
        context = self.context(x)
        positions = noise.shape[2] * noise.shape[3]
        mixings = cast("list[FullConv1x1]", list(self.mixings))
        with full_precision(x):
            matrices, log_abs_dets = FullConv1x1.matrices(mixings)
            # From noise to noise with a learned mean and scale: here the inverse runs in training.
            value = self.base.inverse(noise)
            ladj = positions * (self.base.log_std.sum() + log_abs_dets.sum())
        for matrix, coupling in zip(matrices, self.couplings, strict=False):
            with full_precision(x):
                value = mix_channels(value, matrix)
            value, term = coupling(value, context)
            ladj = ladj + term
        with full_precision(x):
            value = mix_channels(value, matrices[-1])
        # Undoes the squeeze, so that each pixel has its noise.
        logits = F.pixel_shuffle(value, FACTOR)
        # The derivative of a sigmoid is the product of both sides, and its log the sum of two
        # logsigmoids.
        return logits.sigmoid(), ladj + sum_event_dims(F.logsigmoid(logits) + F.logsigmoid(-logits))
