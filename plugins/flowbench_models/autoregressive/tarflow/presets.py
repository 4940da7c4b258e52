"""TarFlow's presets; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from flowbench.api import (
    Ema,
    GaussianNoise,
    Phase,
    Preprocessing,
    Preset,
    Scale,
    Training,
    UniformDequantization,
)
from flowbench_models.defaults import LOGIT

DEQUANTIZED = Preprocessing(noise=UniformDequantization(), bijections=(Scale(low=-1.0, high=1.0),))


def _noisy(sigma: float) -> Preprocessing:
    """Gaussian noise on levels that span [-1, 1], as the paper scales them."""
    return Preprocessing(
        noise=GaussianNoise(sigma=sigma), bijections=(Scale(low=-1.0, high=1.0, closed=True),)
    )


def _paper_training(
    *,
    epochs: int,
    batch_size: int = 256,
    lr: float = 1e-4,
    precision: Literal["float32", "bfloat16"] = "bfloat16",
    flip: bool = True,
) -> Training:
    """Training of the released code; its warm-up is one epoch of those that it ran."""
    return Training(
        batch_size=batch_size,
        optimizer="adamw",
        lr=lr,
        betas=(0.9, 0.95),
        weight_decay=1e-4,
        precision=precision,
        phases=(Phase(warmup=1.0 / epochs, final_lr_ratio=1e-6 / lr),),
        augment=("horizontal_flip",) if flip else (),
    )


SMALL_TRAINING = Training(
    batch_size=64,
    optimizer="adamw",
    lr=2e-3,
    betas=(0.9, 0.95),
    weight_decay=0.1,
    clip_norm=1.0,
    average=Ema(decay=0.99),
)

TINY: Mapping[str, Any] = {
    "patch_size": 2,
    "width": 64,
    "blocks": 4,
    "layers": 2,
    "preprocessing": LOGIT,
    "training": SMALL_TRAINING.model_copy(update={"lr": 4e-3}),
}

SMALL: Mapping[str, Any] = {
    "patch_size": 4,
    "width": 128,
    "blocks": 4,
    "layers": 2,
    "training": SMALL_TRAINING.model_copy(update={"batch_size": 16, "lr": 1e-3}),
}


DEEP_SHALLOW = (2, 2, 2, 2, 2, 24)
"""Layers of each block: the one nearest to the noise, which comes first in sampling, is deep."""


def _deep_shallow(patch_size: int, width: int) -> dict[str, Any]:
    return {
        "patch_size": patch_size,
        "width": width,
        "blocks": len(DEEP_SHALLOW),
        "layers": DEEP_SHALLOW,
        "scale": "softplus",
        "soft_clip": 4.0,
    }


OWN_SPACE = (
    "the published models are of an autoencoder's latents, this one is of pixels, so that no count "
    "is the paper's: width and training are those of TarFlow's model of the same data"
)
PLAIN_POSITIONS = "positions are learned, as in TarFlow, where the published models rotate them"


def _paper(patch_size: int, width: int, blocks: int, layers: int) -> dict[str, int]:
    return {"patch_size": patch_size, "width": width, "blocks": blocks, "layers": layers}


WARM_UP = "the learning rate rises from 0 (released: from 1e-6)"
RESIZED = (
    "the paper crops and resizes full ImageNet images itself, here the data set says how it was "
    "made"
)

PRESETS: Mapping[str, Preset] = {
    "tiny": Preset(
        summary="four blocks of two layers with 64 channels, tuned on digits (8x8)",
        tuning_trials=5,
        values=TINY,
    ),
    "tiny-cond": Preset(
        summary="tiny, given the class label (digits)",
        values={**TINY, "class_conditional": True},
    ),
    "tiny-gen": Preset(
        summary="tiny with labels and Gaussian noise, for guided and denoised samples (digits)",
        values={**TINY, "class_conditional": True, "preprocessing": _noisy(0.1)},
    ),
    "small": Preset(
        summary="four blocks of two layers with 128 channels, for minutes on 32x32 images",
        tuning_trials=1,
        values=SMALL,
    ),
    "pixels": Preset(
        summary="one pixel a token, for images that do not divide into patches",
        values={**TINY, "patch_size": 1},
    ),
    "imagenet64": Preset(
        summary="460.14 M parameters, the paper's likelihood model (2.99 bits/dim)",
        source="paper",
        values={
            **_paper(2, 768, 8, 8),
            "training": _paper_training(epochs=100, precision="float32"),
        },
        assumptions=(WARM_UP,),
    ),
    "imagenet64-gen": Preset(
        summary="460.14 M parameters, the paper's unconditional generation model",
        source="paper",
        values={
            **_paper(2, 768, 8, 8),
            "preprocessing": _noisy(0.05),
            "training": _paper_training(epochs=200),
        },
        assumptions=(WARM_UP,),
    ),
    "imagenet64-cond": Preset(
        summary="466.29 M parameters, the paper's class-conditional ImageNet 64x64 model",
        source="paper",
        values={
            **_paper(2, 768, 8, 8),
            "class_conditional": True,
            "preprocessing": _noisy(0.05),
            "training": _paper_training(epochs=200),
        },
        assumptions=(WARM_UP, RESIZED),
    ),
    "imagenet64-cond-4-1024": Preset(
        summary="817.64 M parameters, a class-conditional model with patches of four",
        source="paper",
        values={
            **_paper(4, 1024, 8, 8),
            "class_conditional": True,
            "preprocessing": _noisy(0.05),
            "training": _paper_training(epochs=200),
        },
        assumptions=(
            WARM_UP,
            RESIZED,
            "trained as the model with patches of two: its own settings are not at hand",
        ),
    ),
    "imagenet128": Preset(
        summary="823.93 M parameters, the paper's class-conditional ImageNet 128x128 model",
        source="paper",
        values={
            **_paper(4, 1024, 8, 8),
            "class_conditional": True,
            "preprocessing": _noisy(0.15),
            "training": _paper_training(epochs=320, batch_size=768),
        },
        assumptions=(WARM_UP, RESIZED),
    ),
    "afhq256": Preset(
        summary="463.48 M parameters, the paper's class-conditional AFHQ 256x256 model",
        source="paper",
        values={
            **_paper(8, 768, 8, 8),
            "class_conditional": True,
            "preprocessing": _noisy(0.07),
            "training": _paper_training(epochs=4000),
        },
        assumptions=(WARM_UP,),
    ),
    "deep-shallow-imagenet64": Preset(
        summary="a deep block behind five shallow ones, for likelihoods on ImageNet 64x64",
        source="paper",
        values={
            **_deep_shallow(2, 768),
            "training": _paper_training(epochs=100, precision="float32"),
        },
        assumptions=(WARM_UP, OWN_SPACE, PLAIN_POSITIONS),
    ),
    "deep-shallow-imagenet64-gen": Preset(
        summary="a deep block behind five shallow ones, for samples of ImageNet 64x64",
        source="paper",
        values={
            **_deep_shallow(2, 768),
            "preprocessing": _noisy(0.05),
            "training": _paper_training(epochs=200),
        },
        assumptions=(WARM_UP, OWN_SPACE, PLAIN_POSITIONS),
    ),
    "mnist": Preset(
        summary="3.23 M parameters, the released MNIST demonstration",
        source="paper",
        values={
            **_paper(4, 128, 4, 4),
            "class_conditional": True,
            "preprocessing": _noisy(0.1),
            "training": _paper_training(epochs=100, lr=2e-3, precision="float32", flip=False),
        },
        assumptions=(WARM_UP,),
    ),
}
