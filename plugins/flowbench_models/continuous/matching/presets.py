"""Networks and training of the models that match a velocity; imports no torch."""

from __future__ import annotations

from typing import Any

from flowbench.api import Ema, Phase, Preprocessing, Scale, Training, UniformDequantization
from flowbench_models.defaults import STANDARDISED

SYMMETRIC = Preprocessing(noise=UniformDequantization(), bijections=(Scale(low=-1.0, high=1.0),))
"""Levels on [-1, 1]."""

IMAGE_ASSUMPTIONS = (
    "trained on dequantized values, so that there is a likelihood (released: on the levels)",
    "the rate over the last part of training stays constant",
)


def small(**changes: Any) -> Training:
    """Training for runs of minutes: the averaged weights of the last step are kept."""
    return Training.model_validate(
        {
            "batch_size": 128,
            "optimizer": "adamw",
            "lr": 2e-3,
            "clip_norm": 1.0,
            "average": Ema(decay=0.999),
            "select": "last",
            **changes,
        }
    )


VECTOR: dict[str, Any] = {
    "network": "mlp",
    "width": 64,
    "blocks": 2,
    "time_scale": 10.0,
    "preprocessing": STANDARDISED,
    "training": small(batch_size=512),
}
TINY: dict[str, Any] = {
    "network": "mlp",
    "width": 192,
    "blocks": 2,
    "dropout": 0.1,
    "time_scale": 10.0,
    "training": small(lr=4e-3),
}
CLOSE = {"evaluation": {"rtol": 1e-6, "atol": 1e-6}}
"""At 1e-5 two digits in a hundred come back off by more than a thousandth of their spread."""

SMALL: dict[str, Any] = {
    **TINY,
    "network": "unet",
    "width": 16,
    "blocks": 1,
    "multipliers": (1, 2, 2),
    "attention": (),
    "training": small(batch_size=16, augment=("horizontal_flip",)),
}
"""Times are told by slow sinusoids: a solver would follow each turn of fast ones."""

ADM: dict[str, Any] = {
    "network": "unet",
    "width": 128,
    "multipliers": (1, 2, 2, 2),
    "blocks": 2,
    "attention": (2,),
    "head_channels": 64,
    "dropout": 0.1,
}
"""The network of OT-CFM's released example on CIFAR-10."""


def image_training(
    *, steps: int, batch_size: int = 128, warmup_steps: int = 5_000, **changes: Any
) -> Training:
    """Adam at a constant rate after a warm-up, as the released scripts on CIFAR-10 train."""
    phase = Phase(schedule="constant", warmup=warmup_steps / steps)
    return Training.model_validate(
        {
            "batch_size": batch_size,
            "lr": 2e-4,
            "clip_norm": 1.0,
            "average": Ema(decay=0.9999),
            "select": "last",
            "phases": (phase,),
            "augment": ("horizontal_flip",),
            **changes,
        }
    )
