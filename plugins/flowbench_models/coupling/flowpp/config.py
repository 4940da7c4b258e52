"""Flow++'s configuration and its presets; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from flowbench.api import DatasetInfo, Ema, Phase, Preprocessing, Preset, Training
from flowbench_models.defaults import (
    LOGIT,
    DequantizedConfig,
    halving_problem,
    is_large,
    small_training,
)

Split = Literal["columns", "channels"]
"""Halves between which a stage's couplings run: even and odd columns, or halves of channels."""

ALPHA = 0.05
"""Of the logit; released code."""

CIFAR10_STEPS_PER_EPOCH = -(-50_000 // 64)
EPOCHS_UNKNOWN = (
    "the length of training is not published (it stops by hand): 400 epochs are assumed, the first "
    "2000 steps of which warm up"
)
SHIFT_FIRST = "the shift of a coupling is added before its scale, the same up to its size"
EPOCHS = 400
CIFAR10 = Training(
    batch_size=64,
    lr=3e-4,
    clip_norm=1.0,
    average=Ema(decay=0.999),
    phases=(Phase(schedule="constant", warmup=2000 / (EPOCHS * CIFAR10_STEPS_PER_EPOCH)),),
    init_examples=128,
)
IMAGENET32_STEPS = 2 * -(-1_281_149 // 32)
IMAGENET32 = Training(
    batch_size=32,
    lr=1e-3,
    clip_norm=1.0,
    average=Ema(decay=0.999222),
    phases=(
        Phase(share=50_000 / IMAGENET32_STEPS, schedule="constant", warmup=0.1),
        Phase(
            share=1.0 - 50_000 / IMAGENET32_STEPS,
            schedule="exponential",
            warmup=0.0,
            final_lr_ratio=0.3,
        ),
    ),
    init_examples=32,
)
IMAGENET64_STEPS = 300_000
IMAGENET64 = Training(
    batch_size=72,
    lr=4e-4,
    clip_norm=1.0,
    average=Ema(decay=0.999),
    phases=(
        Phase(share=50_000 / IMAGENET64_STEPS, schedule="constant", warmup=0.2),
        Phase(share=180_000 / IMAGENET64_STEPS, lr=3e-4, schedule="constant", warmup=0.0),
        Phase(share=50_000 / IMAGENET64_STEPS, lr=1e-5, schedule="constant", warmup=0.2),
        Phase(share=20_000 / IMAGENET64_STEPS, lr=1e-6, schedule="constant", warmup=0.5),
    ),
    init_examples=72,
)


def _paper(summary: str, *assumptions: str, **values: Any) -> Preset:
    return Preset(
        summary=summary,
        source="paper",
        values={**PAPER_NETWORKS, **values},
        assumptions=(SHIFT_FIRST, *assumptions),
    )


PAPER_NETWORKS: Mapping[str, Any] = {
    "splits": ("columns", "channels", "columns"),
    "steps": (4, 2, 3),
    "squeezes": (0, 1, 0),
    "width": 96,
    "blocks": 10,
    "components": 32,
    "heads": 4,
    "dropout": 0.2,
    "logit_alpha": ALPHA,
    "dequantizer_steps": 4,
    "dequantizer_width": 96,
    "dequantizer_blocks": 2,
    "context_width": 32,
    "context_blocks": 3,
    "training": CIFAR10,
}
LARGE: Mapping[str, Any] = {"pointwise": False, "output_elu": True, "dropout": 0.0}

PAPER_PRESETS: Mapping[str, Preset] = {
    "cifar10": _paper("31,443,440 parameters, the CIFAR-10 model", EPOCHS_UNKNOWN),
    "uniform": _paper(
        "32,324,408 parameters, without variational dequantization (CIFAR-10)",
        EPOCHS_UNKNOWN,
        dequantization="uniform",
        logit_alpha=None,
        width=104,
    ),
    "affine": _paper(
        "32,045,708 parameters, affine couplings in place of mixtures (CIFAR-10)",
        EPOCHS_UNKNOWN,
        law="affine",
        width=108,
        dequantizer_width=108,
    ),
    "no-attention": _paper(
        "31,443,440 parameters, a layer of single positions in place of attention (CIFAR-10)",
        EPOCHS_UNKNOWN,
        mixing="pointwise",
    ),
    "imagenet32": _paper(
        "168,955,724 parameters, the ImageNet 32x32 model; --budget 2epochs",
        "the rate falls by equal factors from its 50,000th step on; there it stops at 3e-4",
        **LARGE,
        splits=("columns", "columns", "channels", "columns"),
        steps=(4, 3, 3, 3),
        squeezes=(0, 0, 1, 0),
        width=128,
        blocks=20,
        weight_norm=True,
        dequantizer_steps=8,
        dequantizer_width=128,
        dequantizer_blocks=8,
        context_blocks=8,
        context_norm=True,
        context_attention=True,
        training=IMAGENET32,
    ),
    "imagenet64": _paper(
        "72,703,528 parameters, the ImageNet 64x64 model; --budget 300000steps",
        "the released count of 73,489,960 holds 786,432 position embeddings that are never used",
        "the third and the fourth phase warm up once more, as released",
        **LARGE,
        splits=("columns", "channels", "columns", "channels", "columns"),
        steps=(4, 2, 2, 2, 2),
        squeezes=(1, 1, 0, 1, 0),
        blocks=16,
        components=4,
        dequantizer_blocks=5,
        dequantizer_mixing="none",
        context_blocks=5,
        context_norm=True,
        training=IMAGENET64,
    ),
}

SMALL_PRESETS: Mapping[str, Preset] = {
    "digits": Preset(
        summary="four couplings, for a minute on digits (8x8)",
        tuning_trials=4,
        values={
            "steps": (2, 2),
            "width": 32,
            "dequantizer_steps": 1,
            "logit_alpha": ALPHA,
            "training": small_training(batch_size=32, lr=3e-3),
        },
    ),
    "natural-patches": Preset(
        summary="nine couplings without attention, for minutes on 32x32 images",
        tuning_trials=2,
        values={
            "splits": ("columns", "channels", "channels"),
            "steps": (2, 4, 3),
            "squeezes": (0, 1, 1),
            "mixing": "none",
            "width": 16,
            "blocks": 1,
            "dequantization": "uniform",
            "training": small_training(batch_size=16, lr=3e-3),
        },
    ),
}


class FlowPPConfig(DequantizedConfig):
    """Configuration of Flow++.

    Attributes:
        splits: For each stage, between which halves its couplings run.
        steps: Steps of each stage: elementwise norm, 1x1 convolutions of both halves, coupling.
        squeezes: How often an image is squeezed before each stage.
        pointwise: Whether steps have 1x1 convolutions.
        law: Couplings by ``mixture`` of logistics, or ``affine``.
        components: Logistics in each mixture.
        width: Hidden channels of the couplings' networks.
        blocks: Blocks of each network.
        heads: Of the attention.
        mixing: What follows each gated convolution: ``attention``, a layer of each position alone
            (``pointwise``), or nothing.
        dropout: Part of hidden values that are dropped in training.
        weight_norm: Whether weights are normalised.
        output_elu: Whether networks have ELUs before their last convolution.
        dequantizer_steps: Steps of the dequantizer, between even and odd columns.
        dequantizer_width: Hidden channels of its networks.
        dequantizer_blocks: Blocks of each of them.
        dequantizer_mixing: As ``mixing``, of the dequantizer; None for the same.
        context_width: Channels of what the dequantizer sees of an image.
        context_blocks: Gated convolutions that this goes through.
        context_norm: Whether each of them is followed by a layer norm.
        context_attention: Whether each of them is followed by attention.
    """

    continuous: ClassVar[Preprocessing] = LOGIT

    splits: tuple[Split, ...] = Field(default=("columns", "channels"), min_length=1)
    steps: tuple[int, ...] = Field(default=(3, 4), min_length=1)
    squeezes: tuple[int, ...] = Field(default=(0, 1), min_length=1)
    pointwise: bool = True
    law: Literal["mixture", "affine"] = "mixture"
    components: int = Field(default=4, ge=1)
    width: int = Field(default=24, ge=4)
    blocks: int = Field(default=1, ge=1)
    heads: int = Field(default=4, ge=1)
    mixing: Literal["attention", "pointwise", "none"] = "attention"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    weight_norm: bool = False
    output_elu: bool = False
    dequantizer_steps: int = Field(default=2, ge=1)
    dequantizer_width: int = Field(default=8, ge=4)
    dequantizer_blocks: int = Field(default=1, ge=1)
    dequantizer_mixing: Literal["attention", "pointwise", "none"] | None = None
    context_width: int = Field(default=8, ge=4)
    context_blocks: int = Field(default=1, ge=1)
    context_norm: bool = False
    context_attention: bool = False

    presets: ClassVar[Mapping[str, Preset]] = {**SMALL_PRESETS, **PAPER_PRESETS}

    @model_validator(mode="after")
    def _is_consistent(self) -> FlowPPConfig:
        if not len(self.splits) == len(self.steps) == len(self.squeezes):
            raise ValueError(
                f"splits {self.splits}, steps {self.steps} and squeezes {self.squeezes} need one "
                "entry for each stage"
            )
        if min(self.steps) < 1 or min(self.squeezes) < 0:
            raise ValueError(f"steps {self.steps} are >= 1, squeezes {self.squeezes} >= 0")
        for name in ("width", "dequantizer_width", "context_width"):
            if getattr(self, name) % self.heads:
                raise ValueError(
                    f"{name}={getattr(self, name)} is no multiple of {self.heads} heads"
                )
        return self

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``digits`` for images up to 16x16 or of odd sizes, else ``natural-patches``."""
        return "natural-patches" if is_large(data) else "digits"

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Images of integer levels are squeezed, and their columns or channels halved."""
        # Columns of the last stage's images are halved once more.
        times = sum(self.squeezes) + (self.splits[-1] == "columns")
        name = type(self).__name__.removesuffix("Config").lower()
        remedy = "set fewer squeezes"
        problem = halving_problem(data, max(times, 1), model=name, remedy=remedy)
        if problem is not None:
            return problem
        num_channels = self.num_channels(data)
        for split, squeezes in zip(self.splits, self.squeezes, strict=True):
            if squeezes:
                break
            if split == "channels" and num_channels % 2:
                return (
                    f"{name} halves channels before its first squeeze, of {data.name} there are "
                    f"{num_channels}; set splits to begin with columns"
                )
        return super().unsupported(data)

    def num_channels(self, data: DatasetInfo) -> int:
        """Channels that enter the flow: those of an image."""
        return data.event_shape[0]
