"""Glow: actnorm, invertible 1x1 convolutions and convolutional couplings, over several scales."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from flowbench.api import (
    DatasetInfo,
    Ema,
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
from flowbench_models.nanoflow_config import PAPER_ASSUMPTIONS as NANOFLOW_ASSUMPTIONS
from flowbench_models.nanoflow_config import PAPER_EPOCHS as NANOFLOW_EPOCHS
from flowbench_models.nanoflow_config import paper_training as nanoflow_training
from flowbench_models.nets.convnet import GlowConvNet, ZeroConv2d

BATCH_SIZE, INIT_EXAMPLES, SIZE = 64, 256, 32
"""Images of a batch for each GPU and of the first batch, and the height that both are meant for."""
EPOCH_IMAGES = 50_000
"""Of every dataset: no published command changes the released code's default."""
EPOCHS = 1000
WARMUP_EPOCHS = 10

LENGTH_UNKNOWN = (
    f"the length of training is not published (it stops by hand): {EPOCHS} epochs of "
    f"{EPOCH_IMAGES:,} images are assumed, {WARMUP_EPOCHS} of which warm up"
)
WHOLE_PIXELS = "images are shifted by whole pixels, where the released code may interpolate"
SMALLER_CONVOLUTIONS = (
    "LU-decomposed 1x1 convolutions and plain zero padding, which give the published 44.235 M of "
    "512ch (the released code defaults to full matrices and an edge indicator channel)"
)
CHECKPOINTING_OFF = (
    "gradient checkpointing, on in the released code, is off; it changes memory alone"
)


def _paper_training(*, size: int, num_gpus: int, shift: bool) -> Training:
    """Training of the released code on some GPUs with images of some height.

    Its batches are meant for images of 32x32 and shrink with the area of larger ones. An epoch has
    as many steps as if they did not; over one epoch run the second moment and averaged weights.
    """
    shrinking = (size // SIZE) ** 2
    decay = 1.0 - 1.0 / epoch_steps(num_gpus)
    return Training(
        batch_size=num_gpus * BATCH_SIZE // shrinking,
        optimizer="adamax",
        lr=1e-3,
        betas=(0.9, decay),
        average=Ema(decay=decay),
        phases=(Phase(schedule="constant", warmup=WARMUP_EPOCHS / EPOCHS),),
        augment=("shift_tenth",) if shift else (),
        init_examples=INIT_EXAMPLES // shrinking,
    )


def epoch_steps(num_gpus: int) -> int:
    """Steps of what the released code calls an epoch.

    Args:
        num_gpus: GPUs that share a batch.

    Returns:
        Their number.
    """
    return -(-EPOCH_IMAGES // (num_gpus * BATCH_SIZE))


def _paper_preset(
    summary: str,
    *assumptions: str,
    size: int,
    num_gpus: int = 8,
    shift: bool = False,
    **structure: object,
) -> Preset:
    return Preset(
        summary=f"{summary}; --budget {EPOCHS * epoch_steps(num_gpus)}steps",
        source="paper",
        values={
            "width": 512,
            **structure,
            "training": _paper_training(size=size, num_gpus=num_gpus, shift=shift),
        },
        assumptions=(LENGTH_UNKNOWN, SMALLER_CONVOLUTIONS, *assumptions),
    )


def _compared_preset(summary: str, **structure: object) -> Preset:
    return Preset(
        summary=f"{summary}; --budget {NANOFLOW_EPOCHS}epochs",
        source="paper",
        values={
            "levels": 3,
            "steps": 32,
            "width": 256,
            **structure,
            "training": nanoflow_training(NANOFLOW_EPOCHS),
        },
        assumptions=NANOFLOW_ASSUMPTIONS,
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
        checkpointing: Whether coupling networks are recomputed in the backward pass, for memory.
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
    checkpointing: bool = False
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
        "256ch": _compared_preset("15.97 M parameters, as compared against in NanoFlow (CIFAR-10)"),
        "512ch": _paper_preset(
            "44.24 M parameters, the paper's CIFAR-10 model",
            WHOLE_PIXELS,
            CHECKPOINTING_OFF,
            size=32,
            shift=True,
            levels=3,
            steps=32,
        ),
        "large": _compared_preset(
            "287.49 M parameters, six 3x3 convolutions a coupling (NanoFlow's Glow-large)",
            hidden_kernels=(3, 3, 3, 3, 3, 3),
            output_kernel=1,
        ),
        "imagenet32": _paper_preset(
            "66.31 M parameters, the paper's ImageNet 32x32 model",
            CHECKPOINTING_OFF,
            size=32,
            levels=3,
            steps=48,
        ),
        "imagenet64": _paper_preset(
            "112.01 M parameters, the paper's ImageNet 64x64 model",
            CHECKPOINTING_OFF,
            size=64,
            levels=4,
            steps=48,
        ),
        "celebahq256": _paper_preset(
            "the paper's CelebA-HQ 256x256 model (5-bit images, additive couplings)",
            "40 GPUs with one image each, as the released command says",
            size=256,
            num_gpus=40,
            levels=6,
            steps=32,
            coupling="additive",
            checkpointing=True,
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
        scales = [Composition([Squeeze(), _steps(config, count)]) for count in channels]
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


def _steps(config: GlowConfig, num_channels: int) -> GlowSteps:
    steps = (_step(config, num_channels) for _ in range(config.steps))
    return GlowSteps(steps, checkpointing=config.checkpointing)


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
