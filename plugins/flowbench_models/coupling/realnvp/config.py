"""RealNVP's configuration and its presets; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from flowbench.api import DatasetInfo, ModelConfig, Phase, Preprocessing, Preset, Training
from flowbench_models.defaults import (
    LOGIT,
    OVERVIEW_INFERENCE,
    STANDARDISED,
    VECTOR_TRAINING,
    halving_problem,
    small_training,
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

    fits_targets: ClassVar[bool] = True

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
        "overview": Preset(
            summary="eight couplings of 2 x 256 units, as an overview of flows recommends for "
            "variational inference",
            values={
                "couplings": 8,
                "width": 256,
                "blocks": 2,
                "preprocessing": STANDARDISED,
                "training": Training(lr=1e-3),
            },
            assumptions=OVERVIEW_INFERENCE,
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
