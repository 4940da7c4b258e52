"""Flow++: couplings by mixtures of logistics, networks with attention, learned dequantization."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from flowbench.api import DatasetInfo
from flowbench_models.bijections.base import (
    Bijection,
    BoundedAffine,
    Composition,
    ElementwiseMap,
    HalfCoupling,
)
from flowbench_models.bijections.channels import STD_FLOOR, Squeeze, mix_channels
from flowbench_models.bijections.dequantization import (
    Dequantizer,
    LevelScaling,
    OneLatentModel,
)
from flowbench_models.bijections.mixtures import MixtureOfLogistics
from flowbench_models.coupling.flowpp.config import FlowPPConfig, Split
from flowbench_models.nets.calibrated import CalibratedConv2d, run
from flowbench_models.nets.gated import (
    POSITION_STD,
    ChannelNorm,
    GatedConv,
    GatedMixing,
    GatedNet,
    Mixing,
)


class FlowPP(OneLatentModel):
    r"""Flow++.

    Stages of steps between two halves of an image, its even and odd columns or halves of its
    channels: an affine map of each element, 1x1 convolutions of both halves, and a coupling by a
    mixture of logistics, after which the halves change places. Nothing is factored out. Levels are
    dequantized by a flow of the same kind.

    Raises:
        ConfigError: The configuration does not fit the data.

    References:
        Ho et al. (2019), Flow++: Improving Flow-Based Generative Models with Variational
        Dequantization and Architecture Design, https://arxiv.org/abs/1902.00275, with the details
        of the released code. Departures: logarithms of the norms' scales are learned in place of
        the scales, the shift of a coupling comes before its scale, and a squeeze lists channel by
        channel: the same up to the order of channels.
    """

    config: FlowPPConfig

    def __init__(self, config: FlowPPConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        if config.dequantization == "variational":
            self.dequantizer = ColumnDequantizer(config, data)
            self.scaling = LevelScaling(data.levels or 0, config.logit_alpha)
        self.flow, self._latent_shape = stages(config, data.event_shape)
        self.to(memory_format=torch.channels_last)

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One latent, of the last stage's shape."""
        return (self._latent_shape,)


class ColumnSplit(Bijection):
    """Lists odd columns as channels behind even ones: (C, H, W) to (2C, H, W/2); its ladj is 0.

    Example:
        >>> z, ladj = ColumnSplit()(torch.arange(4.0).view(1, 1, 1, 4))
        >>> z.flatten()
        tensor([0., 2., 1., 3.])
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, H, W) to latent; see `Bijection.forward`."""
        return torch.cat((x[..., ::2], x[..., 1::2]), dim=1), x.new_zeros(x.shape[0])

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        return torch.stack(z.chunk(2, dim=1), dim=-1).flatten(-2)


class ColumnMerge(Bijection):
    """Undoes a `ColumnSplit`; its ladj is 0.

    Example:
        >>> z, ladj = ColumnMerge()(torch.tensor([0.0, 2.0, 1.0, 3.0]).view(1, 2, 1, 2))
        >>> z.flatten()
        tensor([0., 1., 2., 3.])
    """

    def __init__(self) -> None:
        super().__init__()
        self.split = ColumnSplit()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, 2C, H, W) to latent; see `Bijection.forward`."""
        return self.split.inverse(x), x.new_zeros(x.shape[0])

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        x: Tensor = self.split(z)[0]
        return x


class ElementNorm(Bijection):
    r"""Affine map of each element, :math:`z = (x + b) \odot e^s`, set from a first batch.

    Args:
        shape: Event shape.

    Example:
        >>> norm = ElementNorm((1, 1, 2))
        >>> norm.initialize(torch.tensor([[1.0, 5.0], [3.0, 5.0]]).view(2, 1, 1, 2)).flatten()
        tensor([-1.,  0.,  1.,  0.])
    """

    initialized: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(shape))
        self.log_scale = nn.Parameter(torch.zeros(shape))
        # Saved: a kept model must not be initialised by its next batch.
        self.register_buffer("initialized", torch.tensor(False))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, *shape) to latent; see `Bijection.forward`."""
        z = (x + self.shift) * self.log_scale.exp()
        return z, self.log_scale.sum().expand(x.shape[0])

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        return z * (-self.log_scale).exp() - self.shift

    @torch.no_grad()
    def initialize(self, x: Tensor) -> Tensor:
        """Normalises each element over this batch; a second call changes nothing."""
        if not self.initialized:
            std, mean = torch.std_mean(x, dim=0, correction=0)
            # An element that is the same everywhere (the rim of images) would be blown up.
            std = torch.where(std > STD_FLOOR, std, 1.0)
            self.shift.copy_(-mean)
            self.log_scale.copy_(-std.log())
            self.initialized.fill_(True)
        z: Tensor = self(x)[0]
        return z


IDENTITY_NOISE = 1e-3
"""Standard deviation of what is added to an identity at the start; released code."""


class HalvesConv1x1(Bijection):
    r"""Invertible 1x1 convolutions of both halves of the channels, each with a full matrix.

    Args:
        num_channels: Size C of axis 1, even.

    Example:
        >>> convolution = HalvesConv1x1(4)
        >>> convolution.weight.data = 2.0 * torch.eye(2).expand(2, 2, 2)
        >>> _, ladj = convolution(torch.randn(3, 4, 1, 1))
        >>> torch.allclose(ladj, torch.tensor(4 * math.log(2.0)))
        True
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        half = num_channels // 2
        noise = IDENTITY_NOISE * torch.randn(2, half, half)
        self.weight = nn.Parameter(torch.eye(half) + noise)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, H, W) to latent; see `Bijection.forward`."""
        positions = x.shape[2] * x.shape[3]
        ladj = positions * torch.linalg.slogdet(self.weight).logabsdet.sum()
        return self._mix(x, self.weight), ladj.expand(x.shape[0])

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        return self._mix(z, torch.linalg.inv(self.weight))

    def _mix(self, x: Tensor, matrices: Tensor) -> Tensor:
        # One matrix of two blocks: half of the products are with zero, of few channels.
        return mix_channels(x, torch.block_diag(*matrices))


class ContextNet(nn.Module):
    """What a flow of noise sees of an image: a convolution of its columns, gated convolutions.

    Args:
        shape: Event shape (2C, H, W/2) of an image whose columns are split.
    """

    def __init__(self, config: FlowPPConfig, shape: tuple[int, ...]) -> None:
        super().__init__()
        width, weight_norm = config.context_width, config.weight_norm
        self.input = CalibratedConv2d(shape[0], width, 3, weight_norm=weight_norm)
        self.convolutions = nn.ModuleList(
            GatedConv(width, dropout=config.dropout, gate_kernel=3, weight_norm=weight_norm)
            for _ in range(config.context_blocks)
        )
        self.positions: Tensor | None = None
        if config.context_attention:
            self.positions = nn.Parameter(POSITION_STD * torch.randn(width, *shape[1:]))
        self.mixings = nn.ModuleList(
            GatedMixing(
                width,
                heads=config.heads,
                mixing="attention",
                dropout=config.dropout,
                weight_norm=weight_norm,
            )
            for _ in range(config.context_blocks * config.context_attention)
        )
        num_norms = config.context_norm * (len(self.convolutions) + len(self.mixings))
        self.norms = nn.ModuleList(ChannelNorm(width) for _ in range(num_norms))

    def forward(self, columns: Tensor, calibrate: bool) -> Tensor:
        """Maps an image's columns (B, 2C, H, W/2) to (B, context_width, H, W/2)."""
        h = run(self.input, columns, calibrate)
        norms = iter(self.norms)
        for index, convolution in enumerate(self.convolutions):
            h = _normed(convolution(h, None, calibrate), norms)
            if self.mixings:
                h = _normed(self.mixings[index](h, self.positions, calibrate), norms)
        return h


class ColumnNoise(nn.Module):
    """Noise given an image, by Flow++'s steps between even and odd columns of normal noise.

    Args:
        shape: Event shape of the image.
        num_channels: Channels of the noise.
        steps: Steps of its flow.
        width: Hidden channels of the steps' networks.
        blocks: Blocks of each of them.
        mixing: What follows each gated convolution in them.
    """

    def __init__(
        self,
        config: FlowPPConfig,
        shape: tuple[int, ...],
        num_channels: int,
        *,
        steps: int,
        width: int,
        blocks: int,
        mixing: Mixing,
    ) -> None:
        super().__init__()
        channels, height, image_width = shape
        size = (height, image_width // 2)
        self.context = ContextNet(config, (2 * channels, *size))
        self.split = ColumnSplit()
        parts: list[Bijection] = []
        for _ in range(steps):
            parts += _step(
                config,
                (2 * num_channels, *size),
                width=width,
                blocks=blocks,
                mixing=mixing,
                num_context=config.context_width,
            )
        self.flow = Composition(parts)

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Maps an image (B, C, H, W) and noise to noise, with ladj of shape (B,), in nats."""
        context = self.context(self.split(x)[0], calibrate=False)
        value, ladj = self.flow(self.split(noise)[0], context)
        return self.split.inverse(value), ladj

    def initialize(self, x: Tensor, noise: Tensor) -> None:
        """Calibrates the context's network, then each step."""
        context = self.context(self.split(x)[0], calibrate=True)
        self.flow.initialize(self.split(noise)[0], context)


class ColumnDequantizer(Dequantizer):
    """Dequantization noise by Flow++'s steps between even and odd columns of noise."""

    def __init__(self, config: FlowPPConfig, data: DatasetInfo) -> None:
        super().__init__()
        self.noise_shape = data.event_shape
        self.levels = data.levels or 0
        self.noise = ColumnNoise(
            config,
            data.event_shape,
            data.event_shape[0],
            steps=config.dequantizer_steps,
            width=config.dequantizer_width,
            blocks=config.dequantizer_blocks,
            mixing=config.dequantizer_mixing or config.mixing,
        )

    def logits(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Maps noise to the logit of u; see `Dequantizer.logits`."""
        logits, ladj = self.noise(x / self.levels - 0.5, noise)
        return logits, ladj

    def initialize(self, x: Tensor, noise: Tensor) -> Tensor:
        """Calibrates the context's network, then each step; returns dequantized levels."""
        self.noise.initialize(x / self.levels - 0.5, noise)
        z: Tensor = self(x, noise)[0]
        return z


def stages(config: FlowPPConfig, shape: tuple[int, ...]) -> tuple[Composition, tuple[int, ...]]:
    """The flow of a configuration.

    Args:
        shape: Event shape of what it maps.

    Returns:
        All stages, and the event shape of their latent.
    """
    parts: list[Bijection] = []
    for split, steps, squeezes in zip(config.splits, config.steps, config.squeezes, strict=True):
        for _ in range(squeezes):
            parts.append(Squeeze())
            shape = (4 * shape[0], shape[1] // 2, shape[2] // 2)
        parts += _stage(config, split, shape, steps)
    return Composition(parts), shape


def _normed(h: Tensor, norms: Iterator[nn.Module]) -> Tensor:
    """The next norm of h, if there is one."""
    norm = next(norms, None)
    out: Tensor = h if norm is None else norm(h)
    return out


def _stage(
    config: FlowPPConfig, split: Split, shape: tuple[int, ...], steps: int
) -> list[Bijection]:
    channels, height, width = shape
    by_columns = split == "columns"
    inner = (2 * channels, height, width // 2) if by_columns else shape
    parts: list[Bijection] = []
    for _ in range(steps):
        parts += _step(
            config, inner, width=config.width, blocks=config.blocks, mixing=config.mixing
        )
    return [ColumnSplit(), *parts, ColumnMerge()] if by_columns else parts


def _step(
    config: FlowPPConfig,
    shape: tuple[int, ...],
    *,
    width: int,
    blocks: int,
    mixing: Mixing,
    num_context: int = 0,
) -> list[Bijection]:
    channels, height, image_width = shape
    half = channels // 2
    law: ElementwiseMap = (
        MixtureOfLogistics(config.components)
        if config.law == "mixture"
        else BoundedAffine(bound=1.0)
    )
    net = GatedNet(
        half,
        law.num_parameters * half,
        (height, image_width),
        width=width,
        blocks=blocks,
        heads=config.heads,
        mixing=mixing,
        num_context=num_context,
        dropout=config.dropout,
        weight_norm=config.weight_norm,
        output_elu=config.output_elu,
    )
    parts: list[Bijection] = [ElementNorm(shape)]
    if config.pointwise:
        parts.append(HalvesConv1x1(channels))
    return [*parts, HalfCoupling(law, net, swap=False, exchange=True)]
