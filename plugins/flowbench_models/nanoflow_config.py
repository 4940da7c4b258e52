"""NanoFlow's configuration and its presets; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from flowbench.api import DatasetInfo, ModelConfig, Phase, Preprocessing, Preset, Training
from flowbench_models.image_config import (
    CENTRED,
    LOGIT,
    halving_problem,
    is_large,
    small_training,
)

WARMUP_EPOCHS = 5
PAPER_EPOCHS, ALT_EPOCHS = 3000, 600


def paper_training(epochs: int) -> Training:
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
        phases=(Phase(schedule="constant", warmup=WARMUP_EPOCHS / epochs),),
        augment=("horizontal_flip", "shift_tenth_zeros"),
        init_examples=512,
    )


PAPER_ASSUMPTIONS = (
    "the warm-up over five epochs is linear over steps, not a staircase over epochs",
)
ALT_ASSUMPTIONS = (
    *PAPER_ASSUMPTIONS,
    "the released files of this variant do not run as published; smallest repairs, which give the "
    "published count, are assumed",
)
DEAD_GATES = "six rows of gates for two hidden layers, as released: four rows have no effect"


def _paper_preset(summary: str, *, epochs: int, values: Mapping[str, Any]) -> Preset:
    alternative = epochs == ALT_EPOCHS
    summary = f"{summary}; --budget {epochs}epochs"
    assumptions = ALT_ASSUMPTIONS if alternative else PAPER_ASSUMPTIONS
    if "gate_rows" in values:
        assumptions = (*assumptions, DEAD_GATES)
    return Preset(
        summary=summary,
        source="paper",
        values={
            "levels": 3,
            "steps": 32,
            "width": 256,
            "training": paper_training(epochs),
            **values,
        },
        assumptions=assumptions,
    )


SIX_CONVOLUTIONS = {"hidden_kernels": (3, 3, 3, 3, 3, 3), "output_kernel": 1}
GLOW_CONVOLUTIONS = {"hidden_kernels": (3, 1), "output_kernel": 3}

PAPER_PRESETS: Mapping[str, Preset] = {
    "k32": _paper_preset(
        "10.11 M parameters: shared estimators, own projections, embeddings of 1 channel",
        epochs=PAPER_EPOCHS,
        values={**SIX_CONVOLUTIONS, "embedding": 1},
    ),
    "k48": _paper_preset(
        "10.72 M parameters: 48 steps a scale, embeddings of 3 channels",
        epochs=PAPER_EPOCHS,
        values={**SIX_CONVOLUTIONS, "steps": 48, "embedding": 3},
    ),
    "decomp": _paper_preset(
        "9.93 M parameters: shared estimators, own projections, no embeddings",
        epochs=PAPER_EPOCHS,
        values={**SIX_CONVOLUTIONS, "embedding": 0},
    ),
    "naive": _paper_preset(
        "9.26 M parameters: estimators shared with their projection",
        epochs=PAPER_EPOCHS,
        values={**SIX_CONVOLUTIONS, "embedding": 0, "shared_projection": True},
    ),
    "alt": _paper_preset(
        "6.96 M parameters: Glow's own convolutions shared, a 3x3 projection for each step",
        epochs=ALT_EPOCHS,
        values={**GLOW_CONVOLUTIONS, "embedding": 1, "gate_rows": 6},
    ),
    "alt-k48": _paper_preset(
        "10.32 M parameters: as alt, with 48 steps a scale and embeddings of 3 channels",
        epochs=ALT_EPOCHS,
        values={**GLOW_CONVOLUTIONS, "steps": 48, "embedding": 3, "gate_rows": 6},
    ),
    "alt-decomp": _paper_preset(
        "6.78 M parameters: as alt, without embeddings",
        epochs=ALT_EPOCHS,
        values={**GLOW_CONVOLUTIONS, "embedding": 0},
    ),
    "alt-naive": _paper_preset(
        "0.78 M parameters: Glow's own convolutions shared with their projection",
        epochs=ALT_EPOCHS,
        values={**GLOW_CONVOLUTIONS, "embedding": 0, "shared_projection": True},
    ),
}


SMALL_CONVOLUTIONS = {"hidden_kernels": (3, 3), "output_kernel": 1}

SMALL_PRESETS: Mapping[str, Preset] = {
    "digits": Preset(
        summary="two scales of four steps, tuned on digits (8x8)",
        values={
            **SMALL_CONVOLUTIONS,
            "levels": 2,
            "steps": 4,
            "width": 64,
            "dropout": 0.1,
            "preprocessing": LOGIT,
            "training": small_training(batch_size=64),
        },
        tuning_trials=4,
    ),
    "natural-patches": Preset(
        summary="three scales of four steps with 32 channels, for minutes on 32x32 images",
        values={
            **SMALL_CONVOLUTIONS,
            "levels": 3,
            "steps": 4,
            "width": 32,
            "training": small_training(batch_size=16),
        },
        tuning_trials=1,
    ),
}


class NanoFlowConfig(ModelConfig):
    """Configuration of NanoFlow.

    Attributes:
        levels: Scales; each halves height and width.
        steps: Flow steps in each scale.
        width: Hidden channels of the shared estimators.
        hidden_kernels: Kernel size of each shared convolution.
        output_kernel: Kernel size of the projections.
        shared_projection: Whether all steps of a scale share their projection too.
        embedding: Channels of the flow indication embedding in the first scale, twice as many in
            each further one; 0 leaves out embeddings and gates.
        gate_rows: Rows of multiplicative gates of each step; None takes one for each shared
            convolution. More than that have no effect, but count as parameters.
        learn_top: Whether mean and scale of the last latent are learned, one pair a channel.
        dropout: Part of hidden channels of the shared estimators that are dropped in training.
    """

    levels: int = Field(default=3, ge=1)
    steps: int = Field(default=8, ge=1)
    width: int = Field(default=64, ge=1)
    hidden_kernels: tuple[Literal[1, 3], ...] = Field(default=(3, 1), min_length=1)
    output_kernel: Literal[1, 3] = 3
    shared_projection: bool = False
    embedding: int = Field(default=1, ge=0)
    gate_rows: int | None = Field(default=None, ge=1)
    learn_top: bool = True
    dropout: float = Field(default=0.0, ge=0, lt=1)
    preprocessing: Preprocessing = CENTRED

    presets: ClassVar[Mapping[str, Preset]] = {**SMALL_PRESETS, **PAPER_PRESETS}

    @model_validator(mode="after")
    def _has_a_gate_for_each_layer(self) -> NanoFlowConfig:
        if self.gate_rows is not None and self.gate_rows < len(self.hidden_kernels):
            raise ValueError(
                f"gate_rows={self.gate_rows} is less than the {len(self.hidden_kernels)} shared "
                "convolutions; leave it out to have one for each"
            )
        return self

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``digits`` for images up to 16x16 or of odd sizes, else ``natural-patches``."""
        return "natural-patches" if is_large(data) else "digits"

    def unsupported(self, data: DatasetInfo) -> str | None:
        """NanoFlow squeezes images, so it needs them, of a size that can be halved."""
        name = f"nanoflow with levels={self.levels}"
        return halving_problem(data, self.levels, model=name, remedy="set fewer levels")
