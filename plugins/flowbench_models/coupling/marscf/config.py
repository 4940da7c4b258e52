"""mAR-SCF's configuration and its presets; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from flowbench.api import DatasetInfo, ModelConfig, Phase, Preprocessing, Preset, Training
from flowbench_models.defaults import CENTRED, halving_problem, is_large, small_training

EPOCHS = 400
WARMUP_EXAMPLES = 10_000

COUPLINGS = "networks drop single hidden values in training, not whole channels, nor attention"
EPOCHS_FROM_PAPER = (
    f"{EPOCHS} epochs, as the README says of the paper's largest model; released training stops "
    "by hand"
)
WIDTH_UNKNOWN = "the width is not published: that of the largest CIFAR-10 model"
LEVELS_OF_256 = "levels are (byte + u) / 256, where the released code takes byte / 255 + u / 256"


def _training(num_train: int, *, batch_size: int, epochs: int = EPOCHS, augment: bool) -> Training:
    return Training(
        batch_size=batch_size,
        optimizer="adamax",
        lr=8e-4,
        phases=(Phase(schedule="constant", warmup=WARMUP_EXAMPLES / (epochs * num_train)),),
        augment=("horizontal_flip", "shift_tenth") if augment else (),
        init_examples=batch_size,
    )


MIXTURE: Mapping[str, Any] = {
    "levels": 3,
    "coupling": "mixture",
    "steps": 4,
    "components": 32,
    "blocks": 10,
    "dropout": 0.2,
    "prior_width": 32,
    "prior_layers": 3,
}
AFFINE: Mapping[str, Any] = {**MIXTURE, "coupling": "affine", "steps": 32}


def _cifar10(summary: str, structure: Mapping[str, Any], width: int) -> Preset:
    batch_size = 64 if structure["coupling"] == "mixture" else 128
    training = _training(50_000, batch_size=batch_size, augment=True)
    return Preset(
        summary=f"{summary}, 41,636 of which are never used (CIFAR-10); --budget {EPOCHS}epochs",
        source="paper",
        values={**structure, "width": width, "training": training},
        assumptions=(EPOCHS_FROM_PAPER, COUPLINGS, LEVELS_OF_256),
    )


def _imagenet(size: int, levels: int) -> Preset:
    epochs = 20
    return Preset(
        summary=f"{levels} levels, for ImageNet {size}x{size}; --budget {epochs}epochs",
        source="paper",
        values={
            **MIXTURE,
            "width": 256,
            "levels": levels,
            "training": _training(1_281_149, batch_size=64, epochs=epochs, augment=False),
        },
        assumptions=(
            WIDTH_UNKNOWN,
            f"the length of training is not published: {epochs} epochs are assumed",
            COUPLINGS,
            LEVELS_OF_256,
        ),
    )


PRESETS: Mapping[str, Preset] = {
    "digits": Preset(
        summary="two levels of two steps, for a minute on digits (8x8)",
        tuning_trials=4,
        values={"training": small_training(batch_size=64, lr=6e-3)},
    ),
    "natural-patches": Preset(
        summary="three levels of two affine steps, for minutes on 32x32 images",
        tuning_trials=2,
        values={
            "levels": 3,
            "coupling": "affine",
            "width": 32,
            "prior_width": 8,
            "training": small_training(batch_size=16, lr=3e-3),
        },
    ),
    "c96": _cifar10("46,011,410 parameters, mixtures of logistics", MIXTURE, 96),
    "c256": _cifar10("252,768,530 parameters, mixtures of logistics", MIXTURE, 256),
    "affine-c256": _cifar10("17,411,378 parameters, affine couplings", AFFINE, 256),
    "affine-c512": _cifar10("45,673,778 parameters, affine couplings", AFFINE, 512),
    "imagenet32": _imagenet(32, 3),
    "imagenet64": _imagenet(64, 4),
}


class MARSCFConfig(ModelConfig):
    """Configuration of mAR-SCF.

    Attributes:
        levels: Scales; each halves height and width.
        steps: Steps of flow in each scale.
        coupling: By ``mixture`` of logistics, with attention, or ``affine``, as in Glow.
        width: Hidden channels of the couplings' networks.
        components: Logistics in each mixture.
        blocks: Blocks of gated convolution and attention in each network of a mixture.
        heads: Of the attention.
        dropout: Part of those networks' hidden values that are dropped in training.
        prior_width: Hidden channels of the priors.
        prior_layers: Recurrent layers of the priors.
    """

    levels: int = Field(default=2, ge=1)
    steps: int = Field(default=2, ge=1)
    coupling: Literal["mixture", "affine"] = "mixture"
    width: int = Field(default=16, ge=4)
    components: int = Field(default=4, ge=1)
    blocks: int = Field(default=1, ge=1)
    heads: int = Field(default=4, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    prior_width: int = Field(default=16, ge=1)
    prior_layers: int = Field(default=1, ge=1)
    preprocessing: Preprocessing = CENTRED

    presets: ClassVar[Mapping[str, Preset]] = PRESETS

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.coupling == "mixture" and (self.width % self.heads or self.width % 2):
            raise ValueError(f"width={self.width} is no even multiple of {self.heads} heads")
        return self

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``digits`` for images up to 16x16 or of odd sizes, else ``natural-patches``."""
        return "natural-patches" if is_large(data) else "digits"

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Images are squeezed, so they are of a size that can be halved ``levels`` times."""
        name = f"mar-scf with levels={self.levels}"
        return halving_problem(data, self.levels, model=name, remedy="set fewer levels")
