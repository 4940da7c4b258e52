"""DenseFlow: densely connected flows with noise channels, attention and learned dequantization."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from flowbench.api import Batch, Context, DatasetInfo, InvertibleModel, Latents, ShapeError
from flowbench_models.augmented.denseflow.blocks import (
    BoundedAffine,
    ChannelGaussian,
    CrossUnitCoupling,
    DenseFlowBlock,
    FlowUnit,
    LevelScaling,
    NoiseNet,
    VariationalDequantizer,
)
from flowbench_models.augmented.denseflow.config import DenseFlowConfig
from flowbench_models.augmented.denseflow.networks import FusionNet, PlainConvNet
from flowbench_models.bijections.base import HalfCoupling
from flowbench_models.bijections.channels import ActNorm, FactorOut, FlowStep, FullConv1x1, Squeeze
from flowbench_models.nets.convolution import Conditioner, ZeroConv2d

FAR_OUT = 2.0**31
"""Stands for integers of any larger size, so that the type of integers holds them."""


class DenseFlow(InvertibleModel):
    r"""DenseFlow.

    Levels x are dequantized and squeezed; each block runs units of [actnorm, 1x1 convolution,
    coupling] and appends k channels of noise before each unit but its first; between blocks the
    image is squeezed and half of its channels become a latent. With explicit noise
    :math:`\epsilon` of the dequantizer and :math:`e_i` of the units, all standard normal, the map
    (noise) to latents is a bijection for each x, so that one draw's log-weight is

    .. math:: \log w = \log N(z) + \mathrm{ladj} - \log N(\epsilon) - \sum_i \log N(e_i)

    and its expectation a lower bound of the log-likelihood.

    Raises:
        ConfigError: The configuration does not fit the data.

    References:
        Grcic et al. (2021), Densely connected normalizing flows,
        https://arxiv.org/abs/2106.04627, with the details of the released code. Departures: halves
        in the place of even and odd channels in the order of couplings' parameters, and actnorm in
        Glow's form (with the population's standard deviation at initialisation).
    """

    config: DenseFlowConfig

    def __init__(self, config: DenseFlowConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.dequantizer: VariationalDequantizer | None = None
        self.scaling: LevelScaling | None = None
        if config.dequantization == "variational":
            self.dequantizer = _dequantizer(config, data)
            self.scaling = LevelScaling(data.levels or 0, config.logit_alpha)
        # One for all blocks: it has no weights.
        self.squeeze = Squeeze()
        # Known without data, so that noise can be drawn before anything is encoded.
        shapes = _block_shapes(config, data)
        self.drops = nn.ModuleList(_drop(config, channels) for channels, _, _ in shapes[1:])
        self.blocks = nn.ModuleList(
            _block(config, index, channels) for index, (channels, _, _) in enumerate(shapes)
        )
        self.top = ChannelGaussian(_channels_out(config, len(shapes) - 1, shapes[-1][0]))
        # Kernels too, or each convolution would lay its weight out anew.
        self.to(memory_format=torch.channels_last)

    def initialize(self, batch: Batch, *, generator: torch.Generator) -> None:
        """Normalises every actnorm from a first batch."""
        aux = self.sample_aux(batch.x, generator=generator) or ()

        # The encoder itself walks the blocks, so that what initialises sees what later runs.
        def through(
            block: DenseFlowBlock, x: Tensor, noises: Sequence[Tensor]
        ) -> tuple[Tensor, Tensor]:
            return block.initialize(x, noises), x.new_zeros(x.shape[0])

        with torch.no_grad():
            self._encode(batch.x, aux, through)

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The dropped half of each transition, and the last block's output."""
        shapes = _block_shapes(self.config, self.data)
        dropped = [shape for _, shape in pairwise(shapes)]  # as many channels go on as are dropped
        channels, height, width = shapes[-1]
        return (*dropped, (_channels_out(self.config, len(shapes) - 1, channels), height, width))

    def aux_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Event shape of each noise: the dequantizer's, then the blocks' e_i in order."""
        shapes = _block_shapes(self.config, self.data)
        added = [
            (self.config.growth, height, width)
            for (_, height, width), count in zip(shapes, self.config.num_augmentations, strict=True)
            for _ in range(count)
        ]
        return (shapes[0], *added) if self.dequantizer is not None else tuple(added)

    def sample_aux(self, x: Tensor, *, generator: torch.Generator | None) -> Latents | None:
        """Draws the noise of dequantization and of every cross-unit coupling."""
        dtype = self.top.mean.dtype
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
            x: Integer levels, or dequantized values under uniform dequantization.
            context: Not used.
            aux: Noise from ``sample_aux``.

        Returns:
            All latents, and the ladj of the joint map, shape (B,), in nats.

        Raises:
            ShapeError: The noise is not what ``sample_aux`` draws.
        """
        noises = aux or ()
        # Noise in another order would be accepted by every block whose noise has the same shape.
        given = [tuple(noise.shape[1:]) for noise in noises]
        if given != list(self.aux_shapes()):
            raise ShapeError(
                f"denseflow was given noise of shapes {given}, it needs {list(self.aux_shapes())}; "
                "draw it with sample_aux"
            )
        return self._encode(x, noises, lambda block, value, noise: block(value, noise))

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        """Maps latents to images (B, C, H, W).

        Returns:
            After variational dequantization integers, not clipped to the levels: the harness does
            that and counts them. What is not finite becomes an integer far below 0.
        """
        x = self.decode(latents)
        if self.scaling is None:
            return x
        # Far below 0, so that the harness counts it as clipped; a 0 would pass for a black pixel.
        levels = self.scaling.inverse(x).nan_to_num(nan=-FAR_OUT).clamp(-FAR_OUT, FAR_OUT)
        return levels.floor().long()

    def decode(self, latents: Latents) -> Tensor:
        """Maps latents to the flow's own space, without the noise that was added on the way.

        Returns:
            Dequantized and scaled images, shape (B, C, H, W).
        """
        x = self.top.inverse(latents[-1])
        blocks = cast("list[DenseFlowBlock]", list(self.blocks))
        transitions = list(zip(blocks[1:], self._drops(), latents[:-1], strict=True))
        for block, drop, dropped in reversed(transitions):
            x = self.squeeze.inverse(drop.inverse(block.inverse(x), dropped))
        return self.squeeze.inverse(blocks[0].inverse(x))

    def _encode(
        self,
        x: Tensor,
        noises: Sequence[Tensor],
        through: Callable[[DenseFlowBlock, Tensor, Sequence[Tensor]], tuple[Tensor, Tensor]],
    ) -> tuple[Latents, Tensor]:
        x, ladj, noises = self._dequantize(x, noises)
        latents: list[Tensor] = []
        drops: list[FactorOut | None] = [None, *self._drops()]
        blocks = cast("list[DenseFlowBlock]", list(self.blocks))
        for drop, block in zip(drops, blocks, strict=True):
            x, _ = self.squeeze(x)
            if drop is not None:
                x, dropped, term = drop(x)
                latents.append(dropped)
                ladj = ladj + term
            # Consumed in the order in which `aux_shapes` lists them.
            own, noises = noises[: block.num_noises], noises[block.num_noises :]
            x, term = through(block, x, own)
            ladj = ladj + term
        z, term = self.top(x)
        return (*latents, z), ladj + term

    def _drops(self) -> list[FactorOut]:
        return cast("list[FactorOut]", list(self.drops))

    def _dequantize(
        self, x: Tensor, noises: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        if self.dequantizer is None or self.scaling is None:
            return x, x.new_zeros(x.shape[0]), noises
        # Integers come in as int64, on which no convolution runs.
        levels = x.to(self.top.mean.dtype)
        u, ladj = self.dequantizer(levels, noises[0])
        scaled, term = self.scaling(levels + u)
        return scaled, ladj + term, noises[1:]


def _block_shapes(config: DenseFlowConfig, data: DatasetInfo) -> list[tuple[int, int, int]]:
    """Shape in which an image enters each block."""
    channels, height, width = data.event_shape
    shapes = [(4 * channels, height // 2, width // 2)]
    for index in range(1, len(config.units)):
        channels, height, width = shapes[-1]
        channels = _channels_out(config, index - 1, channels)
        shapes.append((2 * channels, height // 2, width // 2))  # squeezing gives 4, half goes on
    return shapes


def _channels_out(config: DenseFlowConfig, index: int, num_channels: int) -> int:
    return num_channels + config.growth * config.num_augmentations[index]


def _drop(config: DenseFlowConfig, num_channels: int) -> FactorOut:
    """What happens before a block that ``num_channels`` enter: as many are dropped."""
    conditional = config.split_prior == "conditional"
    return FactorOut(ZeroConv2d(num_channels, 2 * num_channels) if conditional else None)


def _block(config: DenseFlowConfig, index: int, num_channels: int) -> DenseFlowBlock:
    # Each unit is wider than the one before it by the noise that joins there.
    added = config.growth if config.num_augmentations[index] else 0
    widths = [num_channels + added * unit for unit in range(config.units[index])]
    units = [_unit(config, width, config.modules[index]) for width in widths]
    augmentations = [
        _augmentation(config, [num_channels, *widths[: unit - 1]])
        for unit in range(1, config.num_augmentations[index] + 1)
    ]
    return DenseFlowBlock(units, augmentations, config.growth)


def _augmentation(config: DenseFlowConfig, earlier: Sequence[int]) -> CrossUnitCoupling:
    if config.noise == "white":
        return CrossUnitCoupling(None)
    only_last = config.cross_unit == "last"
    num_inputs = earlier[-1] if only_last else sum(earlier)
    return CrossUnitCoupling(NoiseNet(num_inputs, config.growth), only_last=only_last)


def _unit(config: DenseFlowConfig, num_channels: int, num_modules: int) -> FlowUnit:
    modules = (_module(config, num_channels) for _ in range(num_modules))
    return FlowUnit(modules, checkpointing=config.checkpointing)


def _module(config: DenseFlowConfig, num_channels: int) -> FlowStep:
    net = _coupling_net(config, num_channels)
    coupling = HalfCoupling(BoundedAffine(), net, swap=False, exchange=True)
    return FlowStep(ActNorm(num_channels), FullConv1x1(num_channels), coupling)


def _coupling_net(config: DenseFlowConfig, num_channels: int) -> Conditioner:
    num_transformed = num_channels // 2
    num_inputs = num_channels - num_transformed
    num_outputs = BoundedAffine.num_parameters * num_transformed
    if config.coupling == "convolutional":
        return PlainConvNet(num_inputs, num_outputs, width=config.width)
    return FusionNet(
        num_inputs,
        num_outputs,
        width=config.width,
        depth=config.dense_depth,
        growth=config.dense_growth,
        attention=None if config.attention == "none" else config.attention,
        head_width=config.head_width,
        num_landmarks=config.landmarks,
        dropout=config.dropout,
    )


def _dequantizer(config: DenseFlowConfig, data: DatasetInfo) -> VariationalDequantizer:
    return VariationalDequantizer(
        data.event_shape[0],
        levels=data.levels or 0,
        steps=config.dequantizer_steps,
        width=config.dequantizer_width,
        depth=config.dequantizer_depth,
        growth=config.dequantizer_growth,
        context_growth=config.context_growth,
    )
