"""mAR-SCF: a multi-scale flow whose factored-out channels have an autoregressive prior."""

from __future__ import annotations

import torch

from flowbench.api import DatasetInfo
from flowbench_models.bijections.base import Composition, HalfCoupling, SigmoidAffine
from flowbench_models.bijections.channels import (
    ActNorm,
    FlowStep,
    FlowSteps,
    PLUConv1x1,
    Squeeze,
)
from flowbench_models.bijections.mixtures import MixtureOfLogistics
from flowbench_models.bijections.multiscale import MultiScale, MultiScaleModel
from flowbench_models.coupling.glow.model import GlowConvNet, GlowSteps
from flowbench_models.coupling.marscf.config import MARSCFConfig
from flowbench_models.coupling.marscf.prior import (
    CONTEXT_CHANNELS,
    CONTEXT_KERNEL,
    CONTEXT_WIDTH,
    ChannelPrior,
    FactorOutByChannel,
)
from flowbench_models.nets.gated import GatedNet

KERNELS, DILATIONS = (5, 5, 3), (2, 1, 1)
"""Of the priors of the first levels; deeper ones are as the third. Released code."""


class MARSCF(MultiScaleModel):
    r"""Multi-scale autoregressive split coupling flow (mAR-SCF).

    Each scale squeezes, runs ``steps`` times [actnorm, 1x1 convolution, coupling], and factors out
    half of the channels under a Gaussian prior that goes channel by channel and sees the other
    half; the last scale's output has such a prior, too. Couplings are by mixtures of logistics as
    in Flow++, after which the halves change places, or Glow's.

    Raises:
        ConfigError: The configuration does not fit the data.

    References:
        Bhattacharyya et al. (2020), Normalizing Flows with Multi-Scale Autoregressive Priors,
        https://arxiv.org/abs/2004.03891, with the details of the released code. Departures: shift
        and scale of affine couplings are halves of their network's channels, where the released
        code takes even and odd channels; the last prior's network of a context that is not there
        is counted, but not made; couplings are inverted wherever they map to, where the released
        code holds values of the mixture's CDF within 1e-5 of 0 and 1 in sampling alone.
    """

    config: MARSCFConfig

    def __init__(self, config: MARSCFConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        channels, height, width = data.event_shape
        scales: list[Composition] = []
        splits: list[FactorOutByChannel] = []
        self._latent_shapes: list[tuple[int, ...]] = []
        for level in range(config.levels):
            channels, height, width = 4 * channels, height // 2, width // 2
            scales.append(Composition([Squeeze(), _steps(config, channels, (height, width))]))
            if level < config.levels - 1:
                channels //= 2
                splits.append(FactorOutByChannel(_prior(config, level, channels)))
            self._latent_shapes.append((channels, height, width))
        scales[-1].bijections.append(_prior(config, config.levels - 1, 0))
        self.flow = MultiScale(scales, splits)
        self.to(memory_format=torch.channels_last)

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One latent a scale; each but the last has half of that scale's channels."""
        return tuple(self._latent_shapes)

    def num_parameters(self) -> int:
        """Counts the network that the released code makes for the last prior and never uses."""
        area = CONTEXT_KERNEL**2
        hidden = (area * self._latent_shapes[-1][0] + 1) * CONTEXT_WIDTH
        return super().num_parameters() + hidden + (area * CONTEXT_WIDTH + 1) * CONTEXT_CHANNELS


def _prior(config: MARSCFConfig, level: int, num_context: int) -> ChannelPrior:
    as_level = min(level, len(KERNELS) - 1)
    return ChannelPrior(
        num_context,
        width=config.prior_width,
        layers=config.prior_layers,
        kernel_size=KERNELS[as_level],
        dilation=DILATIONS[as_level],
    )


def _steps(config: MARSCFConfig, num_channels: int, size: tuple[int, int]) -> FlowSteps:
    steps = [_step(config, num_channels, size) for _ in range(config.steps)]
    return GlowSteps(steps) if config.coupling == "affine" else FlowSteps(steps)


def _step(config: MARSCFConfig, num_channels: int, size: tuple[int, int]) -> FlowStep:
    half = num_channels // 2
    if config.coupling == "affine":
        affine = SigmoidAffine(shift_last=True)
        net = GlowConvNet(half, affine.num_parameters * half, width=config.width)
        coupling = HalfCoupling(affine, net, swap=False)
    else:
        mixture = MixtureOfLogistics(config.components, rescale=half)
        gated = GatedNet(
            half,
            mixture.num_parameters * half,
            size,
            width=config.width,
            blocks=config.blocks,
            heads=config.heads,
            positions="waves",
            dropout=config.dropout,
            weight_norm=True,
            calibrated=False,
        )
        coupling = HalfCoupling(mixture, gated, swap=True, exchange=True)
    return FlowStep(ActNorm(num_channels), PLUConv1x1(num_channels), coupling)
