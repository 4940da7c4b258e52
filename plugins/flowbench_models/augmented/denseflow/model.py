"""DenseFlow: densely connected flows with noise channels, attention and learned dequantization."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from flowbench.api import Batch, DatasetInfo, Latents
from flowbench_models.augmented.denseflow.blocks import (
    CrossUnitCoupling,
    DenseFlowBlock,
    FlowUnit,
    NoiseNet,
)
from flowbench_models.augmented.denseflow.config import DenseFlowConfig
from flowbench_models.augmented.denseflow.networks import FusionNet, PlainConvNet
from flowbench_models.bijections.base import BoundedAffine, HalfCoupling
from flowbench_models.bijections.channels import (
    ActNorm,
    ChannelGaussian,
    FactorOut,
    FlowStep,
    FullConv1x1,
    Squeeze,
)
from flowbench_models.bijections.dequantization import (
    DenseDequantizer,
    DequantizedModel,
    LevelScaling,
)
from flowbench_models.nets.convolution import Conditioner, ZeroConv2d


class DenseFlow(DequantizedModel):
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

        # The encoder itself walks the blocks, so that what initialises sees what later runs.
        def through(
            block: DenseFlowBlock, x: Tensor, noises: Sequence[Tensor]
        ) -> tuple[Tensor, Tensor]:
            return block.initialize(x, noises), x.new_zeros(x.shape[0])

        with torch.no_grad():
            self._walk(*self.initial_values(batch.x, generator), through)

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The dropped half of each transition, and the last block's output."""
        shapes = _block_shapes(self.config, self.data)
        dropped = [shape for _, shape in pairwise(shapes)]  # as many channels go on as are dropped
        channels, height, width = shapes[-1]
        return (*dropped, (_channels_out(self.config, len(shapes) - 1, channels), height, width))

    def noise_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Event shape of the blocks' e_i, in order."""
        shapes = _block_shapes(self.config, self.data)
        return tuple(
            (self.config.growth, height, width)
            for (_, height, width), count in zip(shapes, self.config.num_augmentations, strict=True)
            for _ in range(count)
        )

    def encode(self, x: Tensor, noises: Latents) -> tuple[Latents, Tensor]:
        """Maps images in the flow's space and noise to latents; see `DequantizedModel.encode`."""
        return self._walk(x, noises, lambda block, value, noise: block(value, noise))

    def decode(self, latents: Latents) -> Tensor:
        """Maps latents to the flow's own space; see `DequantizedModel.decode`."""
        x = self.top.inverse(latents[-1])
        blocks = cast("list[DenseFlowBlock]", list(self.blocks))
        transitions = list(zip(blocks[1:], self._drops(), latents[:-1], strict=True))
        for block, drop, dropped in reversed(transitions):
            x = self.squeeze.inverse(drop.inverse(block.inverse(x), dropped))
        return self.squeeze.inverse(blocks[0].inverse(x))

    def _walk(
        self,
        x: Tensor,
        noises: Sequence[Tensor],
        through: Callable[[DenseFlowBlock, Tensor, Sequence[Tensor]], tuple[Tensor, Tensor]],
    ) -> tuple[Latents, Tensor]:
        latents: list[Tensor] = []
        ladj = x.new_zeros(x.shape[0])
        drops: list[FactorOut | None] = [None, *self._drops()]
        blocks = cast("list[DenseFlowBlock]", list(self.blocks))
        for drop, block in zip(drops, blocks, strict=True):
            x, _ = self.squeeze(x)
            if drop is not None:
                x, dropped, term = drop(x)
                latents.append(dropped)
                ladj = ladj + term
            # Consumed in the order in which `noise_shapes` lists them.
            own, noises = noises[: block.num_noises], noises[block.num_noises :]
            x, term = through(block, x, own)
            ladj = ladj + term
        z, term = self.top(x)
        return (*latents, z), ladj + term

    def _drops(self) -> list[FactorOut]:
        return cast("list[FactorOut]", list(self.drops))


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


def _dequantizer(config: DenseFlowConfig, data: DatasetInfo) -> DenseDequantizer:
    return DenseDequantizer(
        data.event_shape,
        levels=data.levels or 0,
        steps=config.dequantizer_steps,
        width=config.dequantizer_width,
        depth=config.dequantizer_depth,
        growth=config.dequantizer_growth,
        num_context=config.dequantizer_width,
        context_depth=config.dequantizer_depth,
        context_growth=config.context_growth,
    )
