"""DenseFlow: densely connected flows with noise channels, attention and learned dequantization."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from flowbench.api import Batch, DatasetInfo, Latents
from flowbench_models.augmented.denseflow.config import DenseFlowConfig
from flowbench_models.augmented.denseflow.networks import FusionNet, PlainConvNet, run_checkpointed
from flowbench_models.bijections.base import (
    Bijection,
    BoundedAffine,
    HalfCoupling,
    sum_event_dims,
)
from flowbench_models.bijections.channels import (
    ActNorm,
    ChannelGaussian,
    FactorOut,
    FlowStep,
    FlowSteps,
    FullConv1x1,
    Squeeze,
)
from flowbench_models.bijections.dequantization import (
    DenseDequantizer,
    DequantizedModel,
    LevelScaling,
)
from flowbench_models.nets.convolution import Conditioner, PlainConv2d, ZeroConv2d


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
