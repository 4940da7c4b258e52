"""RealNVP: affine couplings over checkerboards and channels, for images and for vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from flowbench.api import (
    DatasetInfo,
    Ema,
    ModelConfig,
    Phase,
    Preprocessing,
    Preset,
    Standardise,
    Training,
)
from flowbench_models.bijections import (
    ActNorm,
    BatchNorm,
    Bijection,
    Composition,
    FactorOut,
    HalfCoupling,
    MaskedCoupling,
    MultiScale,
    Permutation,
    Squeeze,
    TanhAffine,
    checkerboard_mask,
    half_sizes,
)
from flowbench_models.image_config import (
    LOGIT,
    halving_problem,
    require_supported,
    small_training,
)
from flowbench_models.multiscale_model import MultiScaleModel
from flowbench_models.nets.conditioner import Conditioner
from flowbench_models.nets.mlp import MLP, ImageMLP
from flowbench_models.nets.resnet import ResNet, concatenated_relu, normalisation

ImageShape = tuple[int, int, int]

STANDARDISED = Preprocessing(bijections=(Standardise(per="dim"),))

VECTOR_TRAINING = Training(
    batch_size=256, optimizer="adam", lr=2e-3, clip_norm=10.0, average=Ema(decay=0.999)
)

PAPER = Training(
    batch_size=64,
    optimizer="adam",
    lr=1e-3,
    weight_decay=5e-5,
    clip_norm=100.0,
    phases=(Phase(schedule="constant", warmup=0.0),),
    augment=("horizontal_flip",),
)
PAPER_ASSUMPTIONS = (
    "the L2 term of 5e-5 is on all parameters, not on weight-norm magnitudes alone",
    "the released code doubles the normalised input of checkerboard networks; here it is not "
    "doubled, which the normalisation behind the next convolution undoes",
)


class RealNVPConfig(ModelConfig):
    """Configuration of RealNVP.

    Attributes:
        scales: Scales of an image flow: each but the last ends in squeezing and factoring out half.
        couplings: Coupling layers of a vector flow.
        network: What conditions image couplings: convolutional residual networks, or perceptrons
            over all pixels, which on images as small as digits train many times faster.
        width: Hidden channels of the first scale's residual networks over checkerboards; twice as
            many over channels, and twice as many again in each further scale. Hidden units of
            perceptrons.
        blocks: Residual blocks of each network; hidden layers of perceptrons.
        norm: ``batch``: batch norm after each coupling and inside the networks, as in the paper;
            ``act``: actnorm after each coupling, none inside.
        dropout: Part of hidden channels or units that are dropped in training.
    """

    scales: int = Field(default=2, ge=1)
    couplings: int = Field(default=8, ge=2)
    network: Literal["resnet", "mlp"] = "resnet"
    width: int = Field(default=32, ge=1)
    blocks: int = Field(default=2, ge=1)
    norm: Literal["batch", "act"] = "act"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    preprocessing: Preprocessing = LOGIT

    presets: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(
            summary="two scales of perceptrons, tuned on digits (8x8)",
            tuning_trials=11,
            values={
                "scales": 2,
                "network": "mlp",
                "width": 192,
                "blocks": 2,
                "dropout": 0.2,
                "training": small_training(),
            },
        ),
        "small": Preset(
            summary="two scales of residual networks, for minutes on 32x32 images",
            tuning_trials=2,
            values={
                "scales": 2,
                "width": 16,
                "blocks": 1,
                "training": small_training(batch_size=16, lr=1e-3),
            },
        ),
        "vector": Preset(
            summary="eight couplings of small perceptrons, for vectors",
            values={
                "couplings": 8,
                "width": 64,
                "blocks": 2,
                "preprocessing": STANDARDISED,
                "training": VECTOR_TRAINING,
            },
        ),
        "cifar10": Preset(
            summary="19.61 M parameters, the released CIFAR-10 model",
            source="paper",
            values={"scales": 2, "width": 64, "blocks": 8, "norm": "batch", "training": PAPER},
            assumptions=PAPER_ASSUMPTIONS,
        ),
        "imagenet32": Preset(
            summary="46.22 M parameters, the released ImageNet 32x32 model",
            source="paper",
            values={"scales": 4, "width": 32, "blocks": 4, "norm": "batch", "training": PAPER},
            assumptions=PAPER_ASSUMPTIONS,
        ),
        "imagenet64": Preset(
            summary="96.36 M parameters, the paper's ImageNet 64x64 model (2 residual blocks)",
            source="paper",
            values={"scales": 5, "width": 32, "blocks": 2, "norm": "batch", "training": PAPER},
            assumptions=PAPER_ASSUMPTIONS,
        ),
        "celeba64": Preset(
            summary="96.36 M parameters, the paper's CelebA 64x64 model (2 residual blocks)",
            source="paper",
            values={"scales": 5, "width": 32, "blocks": 2, "norm": "batch", "training": PAPER},
            assumptions=PAPER_ASSUMPTIONS,
        ),
    }

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``vector`` for vectors, ``tiny`` for images up to 16x16, else ``small``."""
        if len(data.event_shape) != 3:
            return "vector"
        return "tiny" if max(data.event_shape[1:]) <= 16 else "small"

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Couplings need two parts; each scale but the last halves an image."""
        if len(data.event_shape) == 1:
            if data.num_dims < 2:
                return f"realnvp needs at least 2 dims, {data.name} has 1"
            return None
        name, times = f"realnvp with scales={self.scales}", self.scales - 1
        return halving_problem(data, times, model=name, remedy="set fewer scales")


class RealNVP(MultiScaleModel):
    r"""RealNVP.

    Images: each scale runs three checkerboard couplings, squeezes, runs three channel couplings and
    factors out half of the channels as a standard normal latent; the last scale has four
    checkerboard couplings. Vectors: couplings between halves that take turns.

    Args:
        config: The configuration.
        data: Facts of the dataset.

    Raises:
        ConfigError: The configuration does not fit the data.

    References:
        Dinh et al. (2017), Density estimation using Real NVP, https://arxiv.org/abs/1605.08803,
        sections 3.6 and 4.1; details as in the released code, but for its doubling of normalised
        inputs, which the normalised convolution behind it undoes.
    """

    config: RealNVPConfig

    def __init__(self, config: RealNVPConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        require_supported(config, data)
        if len(data.event_shape) == 1:
            self.flow = MultiScale([_vector_flow(config, data.num_dims)], [])
        else:
            scales = [_image_scale(config, data, index) for index in range(config.scales)]
            self.flow = MultiScale(scales, [FactorOut() for _ in range(config.scales - 1)])
            self.flow.to(memory_format=torch.channels_last)

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One latent a scale; a scale but the last leaves half of its values."""
        if len(self.data.event_shape) == 1:
            return (self.data.event_shape,)
        channels, height, width = self.data.event_shape
        factored = [
            (channels * 2**index, height // 2**index, width // 2**index)
            for index in range(1, self.config.scales)
        ]
        last = self.config.scales - 1
        return (*factored, (channels * 2**last, height // 2**last, width // 2**last))


class CouplingNet(Conditioner):
    """The network of an image coupling: both signs of its rectified input into a `ResNet`.

    Args:
        num_inputs: Input channels.
        num_outputs: Output channels.
        width: Hidden channels.
        config: The model's configuration.
        mask: Appended to the input as a channel, shape (1, H, W); None appends nothing.
    """

    mask: Tensor | None

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        width: int,
        config: RealNVPConfig,
        mask: Tensor | None = None,
    ) -> None:
        super().__init__()
        norm: Literal["batch", "none"] = "batch" if config.norm == "batch" else "none"
        self.norm_in = normalisation(num_inputs, norm)
        self.register_buffer("mask", mask, persistent=False)
        self.net = ResNet(
            2 * num_inputs + (mask is not None),
            num_outputs,
            width=width,
            blocks=config.blocks,
            norm=norm,
            dropout=config.dropout,
        )

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, num_inputs, H, W) to (B, num_outputs, H, W)."""
        h = concatenated_relu(self.norm_in(h))
        if self.mask is not None:
            h = torch.cat((h, self.mask.to(h.dtype).expand(h.shape[0], -1, -1, -1)), dim=1)
        parameters: Tensor = self.net(h)
        return parameters


def _image_scale(config: RealNVPConfig, data: DatasetInfo, index: int) -> Bijection:
    channels, height, width = data.event_shape
    channels, height, width = channels * 2**index, height // 2**index, width // 2**index
    is_last = index == config.scales - 1
    hidden = config.width * 2**index
    layers: list[Bijection] = []
    for turn in range(4 if is_last else 3):
        even = turn % 2 == 1
        layers += _checkerboard_coupling(config, (channels, height, width), hidden, even=even)
    if not is_last:
        layers.append(Squeeze())
        squeezed = (4 * channels, height // 2, width // 2)
        for turn in range(3):
            layers += _channel_coupling(config, squeezed, 2 * hidden, swap=turn % 2 == 1)
        layers.append(Permutation(_diagonal_first(channels)))
    return Composition(layers)


def _checkerboard_coupling(
    config: RealNVPConfig, shape: ImageShape, hidden: int, *, even: bool
) -> list[Bijection]:
    channels, height, width = shape
    mask = checkerboard_mask(height, width, even=even)
    net = _image_net(config, shape, 2 * channels, hidden, mask)
    return [
        MaskedCoupling(TanhAffine(initial_gain=0.0), net, mask),
        _flow_norm(config, channels, 1.0 - mask),
    ]


def _channel_coupling(
    config: RealNVPConfig, shape: ImageShape, hidden: int, *, swap: bool
) -> list[Bijection]:
    channels, height, width = shape
    half = channels // 2
    net = _image_net(config, (half, height, width), 2 * half, hidden)
    transformed = torch.arange(channels) < half if swap else torch.arange(channels) >= half
    return [
        HalfCoupling(TanhAffine(initial_gain=1.0), net, swap=swap),
        _flow_norm(config, channels, transformed.to(torch.get_default_dtype()).view(-1, 1, 1)),
    ]


def _image_net(
    config: RealNVPConfig,
    in_shape: ImageShape,
    num_outputs: int,
    hidden: int,
    mask: Tensor | None = None,
) -> Conditioner:
    if config.network == "mlp":
        layers = (config.width,) * config.blocks
        return ImageMLP(in_shape, num_outputs, layers, dropout=config.dropout)
    return CouplingNet(in_shape[0], num_outputs, hidden, config, mask)


def _vector_flow(config: RealNVPConfig, num_dims: int) -> Bijection:
    layers: list[Bijection] = [_flow_norm(config, num_dims)]
    for turn in range(config.couplings):
        swap = turn % 2 == 1
        num_conditioning, num_transformed = half_sizes(num_dims, swap=swap)
        net = MLP(
            num_conditioning,
            (config.width,) * config.blocks,
            2 * num_transformed,
            dropout=config.dropout,
        )
        layers.append(HalfCoupling(TanhAffine(initial_gain=1.0), net, swap=swap))
        layers.append(_flow_norm(config, num_dims))
    return Composition(layers)


def _flow_norm(
    config: RealNVPConfig, num_channels: int, transformed: Tensor | None = None
) -> Bijection:
    if config.norm == "batch":
        return BatchNorm(num_channels, transformed)
    return ActNorm(num_channels)


def _diagonal_first(num_channels: int) -> list[int]:
    """Order after squeezing that keeps the main diagonals of the 2x2 blocks in the first half."""
    corners = (0, 3, 1, 2)  # top left, bottom right, top right, bottom left
    return [4 * channel + corner for corner in corners for channel in range(num_channels)]
