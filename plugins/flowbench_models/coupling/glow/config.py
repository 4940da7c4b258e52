"""Glow's configuration and presets; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from flowbench.api import (
    DatasetInfo,
    Ema,
    ModelConfig,
    Phase,
    Preprocessing,
    Preset,
    Training,
)
from flowbench_models.defaults import (
    CENTRED,
    LOGIT,
    OVERVIEW_ASSUMPTIONS,
    halving_problem,
    is_large,
    small_training,
)

NANOFLOW_WARMUP_EPOCHS, NANOFLOW_EPOCHS = 5, 3000
NANOFLOW_ASSUMPTIONS = (
    "the warm-up over five epochs is linear over steps, not a staircase over epochs",
)
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


def nanoflow_training(epochs: int) -> Training:
    """Training of NanoFlow's released code, Glow's there included.

    Args:
        epochs: Length of the whole run.

    Returns:
        The settings: a constant rate after a short warm-up.
    """
    return Training(
        batch_size=64,
        optimizer="adamax",
        lr=5e-4,
        weight_decay=5e-5,
        phases=(Phase(schedule="constant", warmup=NANOFLOW_WARMUP_EPOCHS / epochs),),
        augment=("horizontal_flip", "shift_tenth_zeros"),
        init_examples=512,
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


PRESETS: Mapping[str, Preset] = {
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
    "overview": Preset(
        summary="twelve steps in each of three levels, as an overview of flows recommends",
        values={
            "levels": 3,
            "steps": 12,
            "width": 512,
            "preprocessing": LOGIT,
            "training": Training(
                batch_size=128, lr=1e-3, phases=(Phase(schedule="polynomial", final_lr_ratio=0.1),)
            ),
        },
        assumptions=OVERVIEW_ASSUMPTIONS,
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


class GlowConfig(ModelConfig):
    """Configuration of Glow.

    Attributes:
        levels: Scales; each halves height and width.
        steps: Flow steps in each scale.
        width: Hidden channels of the coupling networks.
        hidden_kernels: Kernel size of each hidden convolution of the coupling networks.
        output_kernel: Kernel size of their last convolution.
        coupling: Affine or additive coupling.
        permutation: Parameterisation of the 1x1 convolutions; ``shuffle`` in place of these is a
            fixed random permutation of channels (an ablation).
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
    permutation: Literal["plu", "full", "shuffle"] = "plu"
    learn_top: bool = True
    dropout: float = Field(default=0.0, ge=0, lt=1)
    checkpointing: bool = False
    preprocessing: Preprocessing = CENTRED

    presets: ClassVar[Mapping[str, Preset]] = PRESETS

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``tiny`` for images up to 16x16 or of odd sizes, else ``small``."""
        return "small" if is_large(data) else "tiny"

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Glow squeezes images, so it needs them, of a size that can be halved ``levels`` times."""
        name = f"glow with levels={self.levels}"
        return halving_problem(data, self.levels, model=name, remedy="set fewer levels")
