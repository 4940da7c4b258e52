"""Variational dequantization: the noise within a level from a flow of its own."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench_models.bijections.base import sum_event_dims
from flowbench_models.bijections.bounded_affine import BoundedAffine
from flowbench_models.bijections.channel_gaussian import ChannelGaussian
from flowbench_models.bijections.permutation import FullConv1x1, mix_channels
from flowbench_models.bijections.squeeze import FACTOR
from flowbench_models.nets.dense_block import DenseBlock
from flowbench_models.nets.plain_conv import PlainConv2d
from flowbench_models.nets.precision import full_precision


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
            value = self.base.inverse(noise)
            ladj = positions * (self.base.log_std.sum() + log_abs_dets.sum())
        for matrix, coupling in zip(matrices, self.couplings, strict=False):
            with full_precision(x):
                value = mix_channels(value, matrix)
            value, term = coupling(value, context)
            ladj = ladj + term
        with full_precision(x):
            value = mix_channels(value, matrices[-1])
        logits = F.pixel_shuffle(value, FACTOR)
        return logits.sigmoid(), ladj + sum_event_dims(F.logsigmoid(logits) + F.logsigmoid(-logits))
