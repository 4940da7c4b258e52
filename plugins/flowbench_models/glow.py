"""Glow: actnorm, invertible 1x1 convolutions and convolutional couplings, over several scales."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from flowbench.api import (
    DatasetInfo,
    ModelConfig,
    Phase,
    Preprocessing,
    Preset,
    Training,
)
from flowbench_models.bijections import (
    ActNorm,
    Bijection,
    Composition,
    FactorOut,
    FullConv1x1,
    HalfCoupling,
    MultiScale,
    PLUConv1x1,
    Shift,
    SigmoidAffine,
    Squeeze,
    half_sizes,
    sum_event_dims,
)
from flowbench_models.glow_steps import GlowStep, GlowSteps
from flowbench_models.image_config import (
    CENTRED,
    LOGIT,
    halving_problem,
    is_large,
    require_supported,
    small_training,
)
from flowbench_models.multiscale_model import MultiScaleModel
from flowbench_models.nets.convnet import GlowConvNet, ZeroConv2d

CIFAR10_TRAIN, IMAGENET_TRAIN, CELEBAHQ_TRAIN = 50_000, 1_281_149, 27_000
WARMUP_SHARE = 0.01

PAPER_ASSUMPTIONS = (
    "the length of training is not published (it stops by hand): a warm-up over the first 1 % of "
    "the budget stands for ten epochs",
    "augmentation by random shifts of 10 % is left out",
)

NANOFLOW_TRAINING = Training(
    batch_size=64,
    optimizer="adamax",
    lr=5e-4,
    weight_decay=5e-5,
    phases=(Phase(schedule="constant", warmup=5 / 3000),),
    augment=("horizontal_flip",),
    init_examples=512,
)

NANOFLOW_ASSUMPTIONS = (
    "the warm-up over 5 of 3000 epochs is linear over steps, not a staircase over epochs",
    "augmentation by random shifts of 10 % is left out",
)


def _paper_training(*, num_train: int, batch_size: int = 512) -> Training:
    """Training of the released code, whose two averages both span one epoch."""
    decay = 1.0 - batch_size / num_train
    return Training(
        batch_size=batch_size,
        optimizer="adamax",
        lr=1e-3,
        betas=(0.9, decay),
        ema_decay=decay,
        phases=(Phase(schedule="constant", warmup=WARMUP_SHARE),),
        init_examples=256,
    )


class GlowConfig(ModelConfig):
    """Configuration of Glow.

    Attributes:
        levels: Scales; each halves height and width.
        steps: Flow steps in each scale.
        width: Hidden channels of the coupling networks.
        hidden_kernels: Kernel size of each hidden convolution of the coupling networks.
        output_kernel: Kernel size of their last convolution.
        coupling: Affine or additive coupling.
        permutation: Parameterisation of the 1x1 convolutions.
        learn_top: Whether mean and scale of the last latent are learned, one pair a channel.
        dropout: Part of hidden channels of the coupling networks that are dropped in training.
    """

    levels: int = Field(default=3, ge=1)
    steps: int = Field(default=8, ge=1)
    width: int = Field(default=128, ge=1)
    hidden_kernels: tuple[Literal[1, 3], ...] = (3, 1)
    output_kernel: Literal[1, 3] = 3
    coupling: Literal["affine", "additive"] = "affine"
    permutation: Literal["plu", "full"] = "plu"
    learn_top: bool = True
    dropout: float = Field(default=0.0, ge=0, lt=1)
    preprocessing: Preprocessing = CENTRED

    presets: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(
            summary="two levels of four steps, tuned on digits (8x8)",
            tuning_trials=7,
            values={
                "levels": 2,
                "steps": 4,
                "width": 64,
                "dropout": 0.1,
                "preprocessing": LOGIT,
                "training": small_training(),
            },
        ),
        "small": Preset(
            summary="three levels of four steps with 32 channels, for minutes on 32x32 images",
            tuning_trials=2,
            values={
                "levels": 3,
                "steps": 4,
                "width": 32,
                "training": small_training(batch_size=16, lr=1e-3),
            },
        ),
        "256ch": Preset(
            summary="15.97 M parameters, as compared against in NanoFlow (CIFAR-10)",
            source="paper",
            values={"levels": 3, "steps": 32, "width": 256, "training": NANOFLOW_TRAINING},
            assumptions=NANOFLOW_ASSUMPTIONS,
        ),
        "512ch": Preset(
            summary="44.24 M parameters, the paper's CIFAR-10 model",
            source="paper",
            values={
                "levels": 3,
                "steps": 32,
                "width": 512,
                "training": _paper_training(num_train=CIFAR10_TRAIN),
            },
            assumptions=(
                *PAPER_ASSUMPTIONS,
                "LU-decomposed 1x1 convolutions and plain zero padding, for the published 44.235 M "
                "(the released code defaults to full matrices and an edge indicator channel)",
            ),
        ),
        "large": Preset(
            summary="287.49 M parameters, six 3x3 convolutions a coupling (NanoFlow's Glow-large)",
            source="paper",
            values={
                "levels": 3,
                "steps": 32,
                "width": 256,
                "hidden_kernels": (3, 3, 3, 3, 3, 3),
                "output_kernel": 1,
                "training": NANOFLOW_TRAINING,
            },
            assumptions=NANOFLOW_ASSUMPTIONS,
        ),
        "imagenet32": Preset(
            summary="the paper's ImageNet 32x32 model",
            source="paper",
            values={
                "levels": 3,
                "steps": 48,
                "width": 512,
                "training": _paper_training(num_train=IMAGENET_TRAIN),
            },
            assumptions=PAPER_ASSUMPTIONS,
        ),
        "imagenet64": Preset(
            summary="the paper's ImageNet 64x64 model",
            source="paper",
            values={
                "levels": 4,
                "steps": 48,
                "width": 512,
                "training": _paper_training(num_train=IMAGENET_TRAIN),
            },
            assumptions=PAPER_ASSUMPTIONS,
        ),
        "celebahq256": Preset(
            summary="the paper's CelebA-HQ 256x256 model (5-bit images, additive couplings)",
            source="paper",
            values={
                "levels": 6,
                "steps": 32,
                "width": 512,
                "coupling": "additive",
                "training": _paper_training(num_train=CELEBAHQ_TRAIN, batch_size=40),
            },
            assumptions=(
                *PAPER_ASSUMPTIONS,
                "40 GPUs with one image each, as the released command says",
            ),
        ),
    }

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``tiny`` for images up to 16x16 or of odd sizes, else ``small``."""
        return "small" if is_large(data) else "tiny"

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Glow squeezes images, so it needs them, of a size that can be halved ``levels`` times."""
        name = f"glow with levels={self.levels}"
        return halving_problem(data, self.levels, model=name, remedy="set fewer levels")


class Glow(MultiScaleModel):
    r"""Glow.

    Each scale squeezes, runs ``steps`` times [actnorm, 1x1 convolution, coupling], and factors out
    half of the channels under a Gaussian whose mean and scale a convolution reads from the other
    half. Latents are standard normal: the scale of the priors is part of ladj.

    Args:
        config: The configuration.
        data: Facts of the dataset.

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
        require_supported(config, data)
        channels = [data.event_shape[0] * 4 * 2**level for level in range(config.levels)]
        scales = [
            Composition([Squeeze(), GlowSteps(_step(config, count) for _ in range(config.steps))])
            for count in channels
        ]
        if config.learn_top:
            scales[-1].bijections.append(TopPrior(channels[-1]))
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


class TopPrior(Bijection):
    r"""Learned mean and scale of the last latent's channels, :math:`z = (x - \mu)\,e^{-s}`.

    As released, a convolution of a constant zero input: its weights count as parameters, but only
    its bias and scale have an effect.

    Args:
        num_channels: Size C of axis 1.
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
        parameters = self.net(x.new_zeros(1, 2 * x.shape[1], 1, 1)).to(x.dtype)
        mean, log_std = parameters.chunk(2, dim=1)
        return mean, log_std


def _step(config: GlowConfig, num_channels: int) -> GlowStep:
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
    mixing = PLUConv1x1 if config.permutation == "plu" else FullConv1x1
    return GlowStep(ActNorm(num_channels), mixing(num_channels), HalfCoupling(law, net, swap=False))
