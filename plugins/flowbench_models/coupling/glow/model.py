"""Glow: actnorm, invertible 1x1 convolutions and convolutional couplings, over several scales."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from flowbench.api import DatasetInfo
from flowbench_models.bijections.base import (
    Bijection,
    Composition,
    HalfCoupling,
    Shift,
    SigmoidAffine,
    half_sizes,
    sum_event_dims,
)
from flowbench_models.bijections.channels import (
    ActNorm,
    FactorOut,
    FlowStep,
    FlowSteps,
    FullConv1x1,
    InvertibleConv1x1,
    PLUConv1x1,
    Squeeze,
)
from flowbench_models.bijections.multiscale import MultiScale, MultiScaleModel
from flowbench_models.coupling.glow.config import GlowConfig
from flowbench_models.nets.convolution import (
    Conditioner,
    Kernel,
    ZeroConv2d,
    convolve,
)


class Glow(MultiScaleModel):
    r"""Glow.

    Each scale squeezes, runs ``steps`` times [actnorm, 1x1 convolution, coupling], and factors out
    half of the channels under a Gaussian whose mean and scale a convolution reads from the other
    half. Latents are standard normal: the scale of the priors is part of ladj.

    Raises:
        ConfigError: The configuration does not fit the data.

    References:
        Kingma and Dhariwal (2018), Glow: Generative Flow with Invertible 1x1 Convolutions,
        https://arxiv.org/abs/1807.03039, figure 2. Mean and log-scale of couplings and priors are
        halves of their network's channels, where the released code takes even and odd channels.
    """

    config: GlowConfig

    def __init__(self, config: GlowConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        # A squeeze makes four of one channel, factoring out leaves half of them.
        channels = [data.event_shape[0] * 4 * 2**level for level in range(config.levels)]
        scales = [Composition([Squeeze(), _steps(config, count)]) for count in channels]
        if config.learn_top:
            # As a bijection, so that all latents are standard normal whatever the prior learns.
            scales[-1].bijections.append(TopPrior(channels[-1]))
        # One channel for the mean and one for the scale of each that is factored out.
        splits = [FactorOut(ZeroConv2d(count // 2, count)) for count in channels[:-1]]
        self.flow = MultiScale(scales, splits)

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One latent a scale; each but the last has half of that scale's channels."""
        channels, height, width = self.data.event_shape
        shapes = []
        for level in range(self.config.levels):
            height, width = height // 2, width // 2
            channels *= 4 if level == self.config.levels - 1 else 2
            shapes.append((channels, height, width))
        return tuple(shapes)


class GlowSteps(FlowSteps):
    """Steps whose couplings have `GlowConvNet`, their weights and norms folded together.

    Args:
        checkpointing: Whether the networks' activations are recomputed in the backward pass.

    Example:
        >>> coupling = HalfCoupling(SigmoidAffine(), GlowConvNet(2, 4, width=8), swap=False)
        >>> steps = GlowSteps([FlowStep(ActNorm(4), PLUConv1x1(4), coupling)])
        >>> x = torch.randn(3, 4, 2, 2)
        >>> z, ladj = steps(x)
        >>> torch.allclose(steps.inverse(z), x, atol=1e-5)
        True
    """

    def __init__(self, steps: Iterable[FlowStep], *, checkpointing: bool = False) -> None:
        super().__init__(steps)
        self.checkpointing = checkpointing

    def conditioners(self) -> Sequence[Callable[[Tensor], Tensor]]:
        """The networks, with convolutions that were folded for all of them at once."""
        nets = [cast(GlowConvNet, step.coupling.conditioner) for step in self.steps()]
        runs = [
            partial(net.run, kernels)
            for net, kernels in zip(nets, GlowConvNet.fold(nets), strict=True)
        ]
        # Without a backward pass there is nothing to recompute for.
        if self.checkpointing and self.training and torch.is_grad_enabled():
            return [partial(checkpoint, run, use_reentrant=False) for run in runs]
        return runs


INIT_STD = 0.05
"""Of hidden convolutions; released code of Glow."""


class ActNormConv2d(nn.Module):
    r"""Convolution without bias, then `ActNorm`, computed as one convolution, then ReLU.

    As :math:`(w * h + b) e^{s} = (e^{s} w) * h + e^{s} b`, normalising costs a multiplication of
    the weights instead of one of the (much larger) activations, forward and backward.

    Args:
        kernel_size: Odd; the output has the input's height and width.
        rectify: Whether the ReLU is there.
    """

    def __init__(
        self, num_inputs: int, num_outputs: int, kernel_size: int, *, rectify: bool = True
    ) -> None:
        super().__init__()
        self.rectify = rectify
        self.weight = nn.Parameter(
            # No bias: the norm behind it has one.
            INIT_STD * torch.randn(num_outputs, num_inputs, kernel_size, kernel_size)
        )
        self.norm = ActNorm(num_outputs)

    @staticmethod
    def fold(layers: Sequence[ActNormConv2d]) -> list[Kernel]:
        """Weight and bias of several layers of one shape, their norms folded in together."""
        _, scale, offset = ActNorm.as_affine([layer.norm for layer in layers])
        weights = torch.stack([layer.weight for layer in layers]) * scale[..., None, None, None]
        return list(zip(weights.unbind(), offset.unbind(), strict=True))

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, num_inputs, H, W) to (B, num_outputs, H, W)."""
        ((weight, bias),) = self.fold([self])
        return self._rectified(convolve(h, weight, bias))

    def initialize(self, h: Tensor) -> Tensor:
        """Sets the normalisation from a first batch; returns the output."""
        # Unfolded, since what the norm is set from is the convolution without it.
        return self._rectified(self.norm.initialize(convolve(h, self.weight, None)))

    def _rectified(self, h: Tensor) -> Tensor:
        return h.relu() if self.rectify else h


class GlowConvNet(Conditioner):
    """Normalised hidden convolutions with ReLU, then a zero-initialised one.

    Args:
        width: Hidden channels.
        hidden_kernels: Kernel size of each hidden convolution; (3, 1) in Glow.
        output_kernel: Kernel size of the last convolution; 3 in Glow.
        dropout: Part of hidden channels that are dropped in training.

    References:
        Kingma and Dhariwal (2018), Glow, https://arxiv.org/abs/1807.03039, section B.1.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        *,
        width: int,
        hidden_kernels: Sequence[int] = (3, 1),
        output_kernel: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        inputs = (num_inputs, *(width for _ in hidden_kernels))
        self.hidden = nn.ModuleList(
            ActNormConv2d(before, width, kernel)
            for before, kernel in zip(inputs, hidden_kernels, strict=False)
        )
        self.output = ZeroConv2d(inputs[-1], num_outputs, output_kernel)
        self.dropout = dropout

    @staticmethod
    def fold(nets: Sequence[GlowConvNet]) -> list[list[Kernel]]:
        """The convolutions that several networks of one shape amount to.

        Folding them together takes as many operations as folding one, which counts where networks
        are small: there dispatching operations takes longer than computing them.

        Args:
            nets: K networks.

        Returns:
            For each network weight and bias of its convolutions, in order.
        """
        # Layer by layer over all networks: layers of one depth have one shape, and can be stacked.
        hidden = zip(*(net.hidden_layers() for net in nets), strict=True)
        layers = [ActNormConv2d.fold(same_depth) for same_depth in hidden]
        layers.append(ZeroConv2d.fold([net.output for net in nets]))
        return [list(kernels) for kernels in zip(*layers, strict=True)]

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, num_inputs, H, W) to (B, num_outputs, H, W)."""
        return self.run(self.fold([self])[0], h)

    def run(self, kernels: Sequence[Kernel], h: Tensor) -> Tensor:
        """As ``forward``, with convolutions that were folded before.

        Args:
            kernels: This network's part of ``fold``.
            h: Shape (B, num_inputs, H, W).

        Returns:
            Parameters, shape (B, num_outputs, H, W).
        """
        for weight, bias in kernels[:-1]:
            h = self._drop(convolve(h, weight, bias).relu())
        weight, bias = kernels[-1]
        return convolve(h, weight, bias)

    def initialize(self, h: Tensor) -> Tensor:
        """Normalises layer by layer from a first batch; returns the parameters."""
        for layer in self.hidden_layers():
            h = layer.initialize(h)
        parameters: Tensor = self.output(h)
        return parameters

    def hidden_layers(self) -> list[ActNormConv2d]:
        """The hidden layers, in order."""
        return cast("list[ActNormConv2d]", list(self.hidden))

    def _drop(self, h: Tensor) -> Tensor:
        # Whole channels: neighbouring pixels say nearly the same, so that single ones drop nothing.
        return F.dropout2d(h, self.dropout, self.training) if self.dropout else h


class TopPrior(Bijection):
    r"""Learned mean and scale of the last latent's channels, :math:`z = (x - \mu)\,e^{-s}`.

    As released, a convolution of a constant zero input: its weights count as parameters, but only
    its bias and scale have an effect.

    Args:
        num_channels: Size C of axis 1.

    Example:
        >>> z, ladj = TopPrior(2)(torch.ones(1, 2, 1, 1))  # a standard normal, at the start
        >>> z.detach().flatten(), ladj.detach() == 0
        (tensor([1., 1.]), tensor([True]))
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.net = ZeroConv2d(2 * num_channels, 2 * num_channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, H, W) to latent; see `Bijection.forward`."""
        mean, log_std = self._mean_and_log_std(x)
        ladj = -(x.shape[2] * x.shape[3]) * sum_event_dims(log_std)
        return (x - mean) * (-log_std).exp(), ladj.expand(x.shape[0])

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        mean, log_std = self._mean_and_log_std(z)
        return z * log_std.exp() + mean

    def _mean_and_log_std(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # Of one position: zeros, with zeros around them, give the bias everywhere.
        parameters = self.net(x.new_zeros(1, 2 * x.shape[1], 1, 1)).to(x.dtype)
        mean, log_std = parameters.chunk(2, dim=1)
        return mean, log_std


def _steps(config: GlowConfig, num_channels: int) -> GlowSteps:
    steps = (_step(config, num_channels) for _ in range(config.steps))
    return GlowSteps(steps, checkpointing=config.checkpointing)


def _step(config: GlowConfig, num_channels: int) -> FlowStep:
    law = SigmoidAffine() if config.coupling == "affine" else Shift()
    num_conditioning, num_transformed = half_sizes(num_channels, swap=False)
    net = GlowConvNet(
        num_conditioning,
        law.num_parameters * num_transformed,
        width=config.width,
        hidden_kernels=config.hidden_kernels,
        output_kernel=config.output_kernel,
        dropout=config.dropout,
    )
    mixing = {"plu": PLUConv1x1, "full": FullConv1x1, "shuffle": Shuffle}[config.permutation]
    return FlowStep(ActNorm(num_channels), mixing(num_channels), HalfCoupling(law, net, swap=False))


class Shuffle(InvertibleConv1x1):
    """A 1x1 convolution that is not trained: a random permutation of the channels.

    Example:
        >>> z, ladj = Shuffle(3)(torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1))
        >>> z.flatten().sort().values, ladj
        (tensor([1., 2., 3.]), tensor([0.]))
    """

    weight: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        # Saved, since it is random, and belongs to the weights.
        self.register_buffer("weight", torch.eye(num_channels)[torch.randperm(num_channels)])

    @classmethod
    def matrices(cls, convolutions: Sequence[Self]) -> tuple[Tensor, Tensor]:
        """W and log |det W| = 0; see `InvertibleConv1x1.matrices`."""
        weights = torch.stack([convolution.weight for convolution in convolutions])
        return weights, weights.new_zeros(len(convolutions))

    def inverse_matrix(self) -> Tensor:
        """The inverse permutation, shape (C, C)."""
        return self.weight.mT
