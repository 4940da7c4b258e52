"""Dequantization: integers to reals by noise that a flow makes, and flows that begin with it."""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench.api import (
    Batch,
    Context,
    DatasetInfo,
    InvertibleModel,
    Latents,
    ModelConfig,
    ShapeError,
)
from flowbench_models.bijections.base import (
    Bijection,
    BoundedAffine,
    GenerativeSurjection,
    sum_event_dims,
)
from flowbench_models.bijections.channels import (
    FACTOR,
    ChannelGaussian,
    FullConv1x1,
    mix_channels,
)
from flowbench_models.nets.convolution import DenseBlock, dense_layers, full_precision

FAR_OUT = 2.0**31
"""Stands for integers of any larger size, so that the type of integers holds them."""


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


class Dequantizer(GenerativeSurjection):
    r"""Rounding, the other way round: :math:`z = x + u`, :math:`u = \sigma(g(\epsilon; x))`.

    The map from standard normal :math:`\epsilon` to :math:`u \in (0, 1)` is a flow given the levels
    x, so that :math:`\log q(u \mid x) = \log N(\epsilon) - \mathrm{ladj}`. Subclasses give g.

    References:
        Ho et al. (2019), Flow++, https://arxiv.org/abs/1902.00275, section 3.1.
    """

    def logits(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Maps noise to the logit of u.

        Args:
            x: Levels, as floats, shape (B, C, H, W).
            noise: Standard normal, shape (B, *noise_shape).

        Returns:
            Of the shape of x, and ladj of shape (B,), in nats.
        """
        raise NotImplementedError

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Maps levels (B, C, H, W) and noise to reals; see `GenerativeSurjection.forward`."""
        logits, ladj = self.logits(x, noise)
        # The derivative of a sigmoid is the product of both sides, and its log the sum of two
        # logsigmoids.
        term = sum_event_dims(F.logsigmoid(logits) + F.logsigmoid(-logits))
        return x + logits.sigmoid(), ladj + term

    def inverse(self, z: Tensor) -> Tensor:
        """Rounds down to integers; what is not finite becomes an integer far below 0."""
        # Far below 0, so that the harness counts it as clipped; a 0 would pass for a black pixel.
        return z.nan_to_num(nan=-FAR_OUT).clamp(-FAR_OUT, FAR_OUT).floor().long()


class LevelContext(nn.Module):
    """What the dequantizer sees of an image: two dense blocks around a halving of the size.

    Args:
        num_channels: Channels of the image.
        levels: Number K of levels.
        width: Channels between both.
        num_outputs: Channels out.
        depth: Layers of each dense block.
        growth: Channels that each layer appends.
    """

    def __init__(
        self,
        num_channels: int,
        *,
        levels: int,
        width: int,
        num_outputs: int,
        depth: int,
        growth: int,
    ) -> None:
        super().__init__()
        self.levels = levels
        self.full_size = DenseBlock(num_channels, width, depth=depth, growth=growth)
        self.halve = nn.Conv2d(width, width, FACTOR, stride=FACTOR)
        self.half_size = DenseBlock(width, num_outputs, depth=depth, growth=growth)

    def forward(self, x: Tensor) -> Tensor:
        """Maps levels (B, C, H, W) to (B, num_outputs, H/2, W/2)."""
        # To [-1, 1] by the top level, which images reach, not by the number of levels.
        centred = 2.0 / (self.levels - 1) * x - 1.0
        context: Tensor = self.half_size(self.halve(self.full_size(centred)))
        return context


class ContextCoupling(nn.Module):
    r"""Coupling of channels with a context, :math:`z_b = f(x_b;\, \theta(x_a, c))`.

    Args:
        num_channels: Channels C of x, even.
        num_context: Channels of the context.
        width: Channels of the network.
        depth: Layers of the network's dense block.
        growth: Channels that each layer appends.
    """

    def __init__(
        self, num_channels: int, num_context: int, *, width: int, depth: int, growth: int
    ) -> None:
        super().__init__()
        half = num_channels // 2
        self.law = BoundedAffine()
        self.net = dense_layers(
            half + num_context, 2 * half, width=width, depth=depth, growth=growth
        )

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Maps noise towards dequantization noise.

        Args:
            x: Shape (B, C, H, W).
            context: Shape (B, num_context, H, W).

        Returns:
            z, shape (B, C, H, W), and ladj of shape (B,), in nats.
        """
        passing, transformed = x.chunk(2, dim=1)
        parameters = self.net(torch.cat((passing, context.to(x.dtype)), dim=1)).to(x.dtype)
        transformed, log_scale = self.law(transformed, parameters)
        return torch.cat((passing, transformed), dim=1), sum_event_dims(log_scale)


class DenseDequantizer(Dequantizer):
    r"""Dequantization noise by a flow whose networks are dense blocks.

    A learned Gaussian a channel, at half the image's size and four times its channels, then 1x1
    convolutions and couplings in turn, the squeeze undone, and a sigmoid.

    Args:
        shape: Event shape (C, H, W) of the image.
        levels: Number K of levels.
        steps: Pairs of 1x1 convolution and coupling.
        width: Channels of the networks.
        depth: Layers of the dense blocks of the couplings' networks.
        growth: Channels that each of them appends.
        num_context: Channels of the context.
        context_depth: Layers of the dense blocks of the context's networks.
        context_growth: Channels that each of them appends.

    Example:
        >>> dequantizer = DenseDequantizer(
        ...     (1, 4, 4), levels=17, steps=1, width=4, depth=1, growth=4,
        ...     num_context=4, context_depth=1, context_growth=4,
        ... )
        >>> z, ladj = dequantizer(torch.full((1, 1, 4, 4), 16.0), torch.randn(1, 4, 2, 2))
        >>> z.shape, bool((16 < z).all() and (z < 17).all())
        (torch.Size([1, 1, 4, 4]), True)

    References:
        Nielsen et al. (2020), SurVAE Flows, https://arxiv.org/abs/2007.02731, and Grcic et al.
        (2021), Densely connected normalizing flows, https://arxiv.org/abs/2106.04627: the
        architecture is that of their released code.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        levels: int,
        steps: int,
        width: int,
        depth: int,
        growth: int,
        num_context: int,
        context_depth: int,
        context_growth: int,
    ) -> None:
        super().__init__()
        num_channels, height, image_width = shape
        squeezed = num_channels * FACTOR**2
        self.noise_shape = (squeezed, height // FACTOR, image_width // FACTOR)
        self.context = LevelContext(
            num_channels,
            levels=levels,
            width=width,
            num_outputs=num_context,
            depth=context_depth,
            growth=context_growth,
        )
        self.base = ChannelGaussian(squeezed)
        self.mixings = nn.ModuleList(FullConv1x1(squeezed) for _ in range(steps + 1))
        self.couplings = nn.ModuleList(
            ContextCoupling(squeezed, num_context, width=width, depth=depth, growth=growth)
            for _ in range(steps)
        )

    def logits(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Maps noise to the logit of u; see `Dequantizer.logits`."""
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
        return F.pixel_shuffle(value, FACTOR), ladj


class DequantizedModel(InvertibleModel):
    r"""A flow of images that may begin with a dequantizer of its own.

    With explicit standard normal noises, of the dequantizer and of what else adds some, the map of
    noises to latents is a bijection for each x, so that one draw's log-weight is
    :math:`\log N(z) + \mathrm{ladj} - \sum_i \log N(\epsilon_i)`, and its expectation a lower
    bound of the log-likelihood. Without a dequantizer x is dequantized already.

    Attributes:
        dequantizer: Set by the subclass; None if x comes as reals.
        scaling: Maps dequantized levels to the flow's space; None without a dequantizer.
    """

    dequantizer: Dequantizer | None
    scaling: LevelScaling | None

    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.dequantizer = None
        self.scaling = None

    def encode(self, x: Tensor, noises: Latents) -> tuple[Latents, Tensor]:
        """Maps dequantized and scaled images, and noise, to latents.

        Args:
            x: Shape (B, C, H, W).
            noises: One for each of ``noise_shapes``.

        Returns:
            All latents, and ladj of shape (B,), in nats.
        """
        raise NotImplementedError

    def decode(self, latents: Latents) -> Tensor:
        """Maps latents to the flow's own space, without the noise that was added on the way.

        Returns:
            Dequantized and scaled images, shape (B, C, H, W).
        """
        raise NotImplementedError

    def noise_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Event shape of each noise but the dequantizer's; by default there is none."""
        return ()

    def aux_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Event shape of each noise: the dequantizer's, then the others in order."""
        own = () if self.dequantizer is None else (self.dequantizer.noise_shape,)
        return (*own, *self.noise_shapes())

    def sample_aux(self, x: Tensor, *, generator: torch.Generator | None) -> Latents | None:
        """Draws the noise of dequantization and of whatever else adds some."""
        dtype = next(self.parameters()).dtype
        noises = tuple(
            torch.randn(x.shape[0], *shape, generator=generator, device=x.device, dtype=dtype)
            for shape in self.aux_shapes()
        )
        return noises or None

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        """Maps images (B, C, H, W) and explicit noise to latents; see `InvertibleModel`.

        Args:
            x: Integer levels, or dequantized values without a dequantizer.
            context: Not used.
            aux: Noise from ``sample_aux``.

        Returns:
            All latents, and the ladj of the joint map, shape (B,), in nats.
        """
        x, ladj, noises = self.dequantize(x, aux)
        latents, term = self.encode(x, noises)
        return latents, ladj + term

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        """Maps latents to images (B, C, H, W).

        Returns:
            With a dequantizer integers, not clipped to the levels: the harness does that and counts
            them. What is not finite becomes an integer far below 0.
        """
        x = self.decode(latents)
        if self.dequantizer is None or self.scaling is None:
            return x
        return self.dequantizer.inverse(self.scaling.inverse(x))

    def dequantize(self, x: Tensor, aux: Latents | None) -> tuple[Tensor, Tensor, Latents]:
        """Dequantizes and scales images, where that is the model's to do.

        Args:
            x: As in ``to_latent``.
            aux: As in ``to_latent``.

        Returns:
            Shape (B, C, H, W), ladj of shape (B,) in nats, and the noise that is left.

        Raises:
            ShapeError: The noise is not what ``sample_aux`` draws.
        """
        noises = self._checked(aux)
        if self.dequantizer is None or self.scaling is None:
            return x, x.new_zeros(x.shape[0]), noises
        # Integers come in as int64, on which no convolution runs.
        z, ladj = self.dequantizer(x.to(noises[0].dtype), noises[0])
        scaled, term = self.scaling(z)
        return scaled, ladj + term, noises[1:]

    def initial_values(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Latents]:
        """Initialises the dequantizer from a first batch, for what comes after it.

        Args:
            x: As in ``to_latent``.
            generator: Source of the noise.

        Returns:
            Dequantized and scaled images, and the noise that is left.
        """
        aux = self._checked(self.sample_aux(x, generator=generator))
        if self.dequantizer is not None:
            self.dequantizer.initialize(x.to(aux[0].dtype), aux[0])
        values, _, noises = self.dequantize(x, aux)
        return values, noises

    def _checked(self, aux: Latents | None) -> Latents:
        """The noise, as it was drawn.

        Raises:
            ShapeError: It is not what ``sample_aux`` draws.
        """
        noises = aux or ()
        # Noise in another order would be accepted wherever it has the same shape.
        given = [tuple(noise.shape[1:]) for noise in noises]
        if given != list(self.aux_shapes()):
            raise ShapeError(
                f"{type(self).__name__.lower()} was given noise of shapes {given}, it needs "
                f"{list(self.aux_shapes())}; draw it with sample_aux"
            )
        return noises


class OneLatentModel(DequantizedModel):
    """A flow that maps images to one latent by one bijection.

    Attributes:
        flow: The flow, set by the subclass.
    """

    flow: Bijection

    def initialize(self, batch: Batch, *, generator: torch.Generator) -> None:
        """Initialises layer by layer from a first batch."""
        # Only statistics are wanted; a graph through all layers would be kept for nothing.
        with torch.no_grad():
            self.flow.initialize(self.initial_values(batch.x, generator)[0])

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One latent; by default of the image's shape."""
        return (self.data.event_shape,)

    def encode(self, x: Tensor, noises: Latents) -> tuple[Latents, Tensor]:
        """Maps images in the flow's space to the latent; see `DequantizedModel.encode`."""
        z, ladj = self.flow(x)
        return (z,), ladj

    def decode(self, latents: Latents) -> Tensor:
        """Maps the latent to the flow's own space; see `DequantizedModel.decode`."""
        return self.flow.inverse(latents[0])
