"""RQ-NSF: image flows of 1x1 convolutions and spline couplings, and their affine baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from flowbench.api import DatasetInfo, ModelConfig, Phase, Preprocessing, Preset, Training
from flowbench_models.bijections.base import (
    Composition,
    ElementwiseMap,
    HalfCoupling,
)
from flowbench_models.bijections.channels import ActNorm, FactorOut, FlowStep, FlowSteps, Squeeze
from flowbench_models.bijections.lu import LULinear
from flowbench_models.bijections.multiscale import MultiScale, MultiScaleModel
from flowbench_models.bijections.splines import RationalQuadraticSpline
from flowbench_models.defaults import CENTRED, halving_problem, is_large, small_training
from flowbench_models.nets.convolution import Conditioner, convolve

SMALLEST_SCALE = 1e-3  # of the affine baseline; released code
BATCH_NORM_EPS = 1e-3  # released code
SMALL_START = 1e-3  # bound of the last weights of a block at the start; released code

PAPER = Training(batch_size=512, lr=5e-4, phases=(Phase(warmup=0.0),), augment=("horizontal_flip",))
CIFAR: Mapping[str, Any] = {
    "levels": 3,
    "steps": 7,
    "width": 96,
    "blocks": 3,
    "bins": 4,
    "dropout": 0.2,
    "multi_scale": False,
    "training": PAPER,
}
IMAGENET64: Mapping[str, Any] = {
    "levels": 4,
    "bins": 8,
    "dropout": 0.0,
    "multi_scale": True,
    "training": PAPER.model_copy(update={"batch_size": 256}),
}
FIVE_BITS = (
    "for images of 32 levels; on 8-bit data the same network sees 256",
    "trained for 100,000 steps there; here the budget says",
)
EIGHT_BITS = ("trained for 200,000 steps there; here the budget says",)


def _paper(summary: str, assumptions: tuple[str, ...], **values: Any) -> Preset:
    return Preset(
        summary=summary, source="paper", values={**CIFAR, **values}, assumptions=assumptions
    )


class RQNSFConfig(ModelConfig):
    """Configuration of RQ-NSF.

    Attributes:
        levels: Levels of an image; each begins with squeezing.
        steps: Steps in each level: actnorm, 1x1 convolution, coupling. One more 1x1 convolution
            ends a level.
        multi_scale: Whether half of the channels leave after each level but the last.
        coupling: ``spline``, or ``affine``: the paper's baseline.
        bins: Bins of each spline.
        bound: Splines lie in [-bound, bound]; outside they are the identity.
        width: Hidden channels of the couplings' networks.
        blocks: Residual blocks of each network.
        dropout: Part of hidden values that are dropped in training.
        batch_norm: Whether networks have batch norms inside.
    """

    levels: int = Field(default=3, ge=1)
    steps: int = Field(default=4, ge=1)
    multi_scale: bool = True
    coupling: Literal["spline", "affine"] = "spline"
    bins: int = Field(default=4, ge=2, le=500)
    bound: float = Field(default=3.0, gt=0)
    width: int = Field(default=32, ge=1)
    blocks: int = Field(default=1, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    batch_norm: bool = True
    preprocessing: Preprocessing = CENTRED

    presets: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(
            summary="two levels of four steps, tuned on digits (8x8)",
            tuning_trials=2,
            values={
                "levels": 2,
                "steps": 4,
                "width": 64,
                "dropout": 0.2,
                "batch_norm": False,
                "training": small_training(),
            },
        ),
        "small": Preset(
            summary="three levels of four steps, for minutes on 32x32 images",
            tuning_trials=2,
            values={
                "levels": 3,
                "steps": 4,
                "width": 24,
                "batch_norm": False,
                "training": small_training(batch_size=16, lr=2e-3),
            },
        ),
        "cifar10": _paper("11,835,054 parameters, the released 8-bit CIFAR-10 model", EIGHT_BITS),
        "cifar10-affine": _paper(
            "11,065,068 parameters, its affine baseline", EIGHT_BITS, coupling="affine"
        ),
        "cifar10-5bit": _paper(
            "5,333,538 parameters, the released 5-bit CIFAR-10 model", FIVE_BITS, width=64, bins=2
        ),
        "cifar10-5bit-affine": _paper(
            "5,161,548 parameters, its affine baseline", FIVE_BITS, width=64, coupling="affine"
        ),
        "imagenet64": _paper(
            "15,553,554 parameters, the released 8-bit ImageNet 64x64 model",
            EIGHT_BITS,
            **IMAGENET64,
        ),
        "imagenet64-affine": _paper(
            "14,270,244 parameters, its affine baseline",
            EIGHT_BITS,
            coupling="affine",
            **IMAGENET64,
        ),
    }

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``tiny`` for images up to 16x16 or of odd sizes, else ``small``."""
        return "small" if is_large(data) else "tiny"

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Every level squeezes, so height and width must halve ``levels`` times."""
        name = f"rqnsf with levels={self.levels}"
        return halving_problem(data, self.levels, model=name, remedy="set fewer levels")


class RQNSF(MultiScaleModel):
    """Glow's skeleton with LU convolutions and rational-quadratic spline couplings.

    Each level squeezes and runs its steps; the second half of the channels conditions, the first is
    transformed. Where half of the channels leave after a level, it is the first half.

    Raises:
        ConfigError: The configuration does not fit the data.

    References:
        Durkan et al. (2019), Neural Spline Flows, https://arxiv.org/abs/1906.04032, section 5.3;
        details as in the released code.
    """

    config: RQNSFConfig

    def __init__(self, config: RQNSFConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        channels, levels = data.event_shape[0], []
        for _ in range(config.levels):
            channels *= 4
            steps = FlowSteps(_step(config, channels) for _ in range(config.steps))
            levels.append(Composition([Squeeze(), steps, LULinear(channels)]))
            channels //= 2 if config.multi_scale else 1
        if config.multi_scale:
            splits = [FactorOut(keep_second=True) for _ in levels[1:]]
            self.flow = MultiScale(levels, splits)
        else:
            self.flow = MultiScale([Composition(levels)], [])
        self.flow.to(memory_format=torch.channels_last)

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One latent a level, or a single one."""
        channels, height, width = self.data.event_shape
        factor = 2**self.config.levels
        if not self.config.multi_scale:
            return ((channels * factor**2, height // factor, width // factor),)
        shapes = [
            (channels * 2**level, height // 2**level, width // 2**level)
            for level in range(1, self.config.levels)
        ]
        return (*shapes, (channels * 2 * factor, height // factor, width // factor))


class FlooredSigmoidAffine(ElementwiseMap):
    r"""Affine law of the baseline, :math:`z = x\,(\sigma(s + 2) + 10^{-3}) + t`.

    Example:
        >>> z, log_derivative = FlooredSigmoidAffine()(torch.ones(1, 1), torch.zeros(1, 2))
        >>> z, log_derivative
        (tensor([[0.8818]]), tensor([[-0.1258]]))

    References:
        Durkan et al. (2019), Neural Spline Flows, https://arxiv.org/abs/1906.04032; the form of
        the scale is that of the released code.
    """

    num_parameters = 2
    offset = 2.0

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latent; see `ElementwiseMap.forward`."""
        shift, scale = self._shift_and_scale(parameters)
        return x * scale + shift, scale.log()

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        """Maps latent to data."""
        shift, scale = self._shift_and_scale(parameters)
        return (z - shift) / scale

    def _shift_and_scale(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw = parameters.chunk(2, dim=1)
        return shift, (raw + self.offset).sigmoid() + SMALLEST_SCALE


class ConvResNet(Conditioner):
    """Residual blocks of 3x3 convolutions between two 1x1 convolutions.

    Args:
        width: Hidden channels.
        batch_norm: Whether blocks normalise what they activate.
        dropout: Part of the values inside a block that are dropped in training.

    References:
        Durkan et al. (2019), Neural Spline Flows, https://arxiv.org/abs/1906.04032, appendix B.2.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        *,
        width: int,
        blocks: int,
        batch_norm: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(num_inputs, width, 1)
        self.blocks = nn.ModuleList(
            ConvBlock(width, batch_norm=batch_norm, dropout=dropout) for _ in range(blocks)
        )
        self.last = nn.Conv2d(width, num_outputs, 1)

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, num_inputs, H, W) to (B, num_outputs, H, W)."""
        h = convolve(h, self.first.weight, self.first.bias)
        for block in self.blocks:
            h = block(h)
        return convolve(h, self.last.weight, self.last.bias)


class ConvBlock(nn.Module):
    """Two 3x3 convolutions, each after a normalisation and ReLU, added to their input."""

    def __init__(self, width: int, *, batch_norm: bool, dropout: float) -> None:
        super().__init__()
        self.norm_in = nn.BatchNorm2d(width, eps=BATCH_NORM_EPS) if batch_norm else nn.Identity()
        self.conv_in = nn.Conv2d(width, width, 3, padding=1)
        self.norm_out = nn.BatchNorm2d(width, eps=BATCH_NORM_EPS) if batch_norm else nn.Identity()
        self.conv_out = nn.Conv2d(width, width, 3, padding=1)
        self.dropout = dropout
        for parameter in self.conv_out.parameters():
            nn.init.uniform_(parameter, -SMALL_START, SMALL_START)

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, width, H, W) to the same shape."""
        inner = F.relu(self.norm_out(self.conv_in(F.relu(self.norm_in(h)))))
        out: Tensor = h + self.conv_out(F.dropout(inner, self.dropout, self.training))
        return out


def _step(config: RQNSFConfig, channels: int) -> FlowStep:
    law: ElementwiseMap = FlooredSigmoidAffine()
    if config.coupling == "spline":
        law = RationalQuadraticSpline(config.bins, config.bound, config.width)
    net = ConvResNet(
        channels // 2,
        channels // 2 * law.num_parameters,
        width=config.width,
        blocks=config.blocks,
        batch_norm=config.batch_norm,
        dropout=config.dropout,
    )
    return FlowStep(ActNorm(channels), LULinear(channels), HalfCoupling(law, net, swap=True))
