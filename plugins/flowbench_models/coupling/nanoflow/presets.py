"""NanoFlow's presets; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowbench.api import Preset
from flowbench_models.coupling.glow.config import (
    NANOFLOW_ASSUMPTIONS,
    NANOFLOW_EPOCHS,
    nanoflow_training,
)
from flowbench_models.defaults import LOGIT, small_training

ALT_EPOCHS = 600
ALT_ASSUMPTIONS = (
    *NANOFLOW_ASSUMPTIONS,
    "the released files of this variant do not run as published; smallest repairs, which give the "
    "published count, are assumed",
)
DEAD_GATES = "six rows of gates for two hidden layers, as released: four rows have no effect"


def _paper_preset(summary: str, *, epochs: int, values: Mapping[str, Any]) -> Preset:
    alternative = epochs == ALT_EPOCHS
    summary = f"{summary}; --budget {epochs}epochs"
    assumptions = ALT_ASSUMPTIONS if alternative else NANOFLOW_ASSUMPTIONS
    if "gate_rows" in values:
        assumptions = (*assumptions, DEAD_GATES)
    return Preset(
        summary=summary,
        source="paper",
        values={
            "levels": 3,
            "steps": 32,
            "width": 256,
            "training": nanoflow_training(epochs),
            **values,
        },
        assumptions=assumptions,
    )


SIX_CONVOLUTIONS = {"hidden_kernels": (3, 3, 3, 3, 3, 3), "output_kernel": 1}
GLOW_CONVOLUTIONS = {"hidden_kernels": (3, 1), "output_kernel": 3}

PAPER_PRESETS: Mapping[str, Preset] = {
    "k32": _paper_preset(
        "10.11 M parameters: shared estimators, own projections, embeddings of 1 channel",
        epochs=NANOFLOW_EPOCHS,
        values={**SIX_CONVOLUTIONS, "embedding": 1},
    ),
    "k48": _paper_preset(
        "10.72 M parameters: 48 steps a scale, embeddings of 3 channels",
        epochs=NANOFLOW_EPOCHS,
        values={**SIX_CONVOLUTIONS, "steps": 48, "embedding": 3},
    ),
    "decomp": _paper_preset(
        "9.93 M parameters: shared estimators, own projections, no embeddings",
        epochs=NANOFLOW_EPOCHS,
        values={**SIX_CONVOLUTIONS, "embedding": 0},
    ),
    "naive": _paper_preset(
        "9.26 M parameters: estimators shared with their projection",
        epochs=NANOFLOW_EPOCHS,
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
