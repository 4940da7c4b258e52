"""DenseFlow's configuration and its presets; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from flowbench.api import (
    DatasetInfo,
    Preset,
)
from flowbench_models.defaults import (
    INERT_DECAY,
    AdamaxRun,
    DequantizedConfig,
    halving_problem,
    is_large,
    small_training,
)

CHECKPOINTING_OFF = (
    "gradient checkpointing is off, as in the published commands; it changes memory alone"
)
CONV_WIDTH_UNKNOWN = (
    "neither paper nor code gives the width of the Glow coupling in rows 1 to 3: 512, with plain "
    "biases instead of normalisation"
)


def _paper_preset(
    summary: str,
    *assumptions: str,
    structure: Mapping[str, Any],
    run: AdamaxRun,
) -> Preset:
    return Preset(
        summary=f"{summary}; --budget {run.epochs + run.fine_tuning}epochs",
        source="paper",
        values={**PAPER_NETWORKS, **structure, "training": run.training()},
        assumptions=(INERT_DECAY, CHECKPOINTING_OFF, *assumptions),
    )


PAPER_NETWORKS: Mapping[str, Any] = {
    "width": 48,
    "dense_depth": 7,
    "dense_growth": 64,
    "attention": "faithful",
    "head_width": 24,
    "landmarks": 4,
    "dequantizer_steps": 4,
    "dequantizer_width": 64,
    "dequantizer_depth": 4,
    "dequantizer_growth": 64,
    "context_growth": 16,
}

L74_K10 = {"units": (6, 4, 1), "modules": (5, 6, 20), "growth": 10}
L45_K6 = {"units": (5, 3, 1), "modules": (3, 5, 15), "growth": 6}
L45_PLAIN = {"units": (1, 1, 1), "modules": (15, 15, 15), "noise": "none"}
GAIN_ALONE = (
    "the paper gives the gain of 0.01 bpd alone: the model of table 4 is taken, trained as "
    "DenseFlow-74-10 on ImageNet 32x32"
)
WIDE_CONVOLUTIONS = {"coupling": "convolutional", "width": 512}
CIFAR10 = AdamaxRun(epochs=400, fine_tuning=20, num_train=50_000)
IMAGENET32 = AdamaxRun(epochs=20, fine_tuning=2, num_train=1_281_149)
IMAGENET64 = AdamaxRun(epochs=10, fine_tuning=1, num_train=1_281_149, batch_size=32)
CELEBA64 = AdamaxRun(
    epochs=50, fine_tuning=5, num_train=162_770, batch_size=32, augment=("horizontal_flip",)
)
ABLATION = AdamaxRun(epochs=300, fine_tuning=10, num_train=50_000)

PAPER_PRESETS: Mapping[str, Preset] = {
    "74-10": _paper_preset(
        "130.65 M parameters, the paper's model, trained as on CIFAR-10",
        structure=L74_K10,
        run=CIFAR10,
    ),
    "74-10-imagenet32": _paper_preset(
        "the same model, trained as on ImageNet 32x32",
        structure=L74_K10,
        run=IMAGENET32,
    ),
    "74-10-imagenet64": _paper_preset(
        "the same model, trained as on ImageNet 64x64",
        structure=L74_K10,
        run=IMAGENET64,
    ),
    "74-10-celeba64": _paper_preset(
        "the same model, trained as on CelebA 64x64", structure=L74_K10, run=CELEBA64
    ),
    "45-6": _paper_preset(
        "75.02 M parameters, the smaller model of the ablation (CIFAR-10)",
        structure=L45_K6,
        run=ABLATION,
    ),
    "ablation-1": _paper_preset(
        "table 4, row 1: Glow couplings, no noise channels (22.99 M parameters)",
        CONV_WIDTH_UNKNOWN,
        structure={**L45_PLAIN, **WIDE_CONVOLUTIONS},
        run=ABLATION,
    ),
    "ablation-2": _paper_preset(
        "table 4, row 2: Glow couplings, white noise channels (42.77 M parameters)",
        CONV_WIDTH_UNKNOWN,
        structure={**L45_K6, **WIDE_CONVOLUTIONS, "noise": "white"},
        run=ABLATION,
    ),
    "ablation-3": _paper_preset(
        "table 4, row 3: Glow couplings, conditional noise channels (43.97 M parameters)",
        CONV_WIDTH_UNKNOWN,
        structure={**L45_K6, **WIDE_CONVOLUTIONS},
        run=ABLATION,
    ),
    "ablation-4": _paper_preset(
        "table 4, row 4: fused couplings, no noise channels (73.13 M parameters)",
        structure=L45_PLAIN,
        run=ABLATION,
    ),
    "ablation-5": _paper_preset(
        "table 4, row 5: fused couplings, white noise channels (73.82 M parameters)",
        structure={**L45_K6, "noise": "white"},
        run=ABLATION,
    ),
    "ablation-6": _paper_preset(
        "table 4, row 6: fused couplings, conditional noise channels (75.02 M parameters)",
        structure=L45_K6,
        run=ABLATION,
    ),
    "45-6-imagenet32": _paper_preset(
        "what ablation-last and ablation-no-attention are compared with",
        GAIN_ALONE,
        structure=L45_K6,
        run=IMAGENET32,
    ),
    "ablation-last": _paper_preset(
        "noise conditioned on the previous representation alone",
        GAIN_ALONE,
        structure={**L45_K6, "cross_unit": "last"},
        run=IMAGENET32,
    ),
    "ablation-no-attention": _paper_preset(
        "couplings without their attention branch",
        GAIN_ALONE,
        structure={**L45_K6, "attention": "none"},
        run=IMAGENET32,
    ),
}

SMALL_PRESETS: Mapping[str, Preset] = {
    "digits": Preset(
        summary="two blocks of eight modules in all, tuned on digits (8x8)",
        values={
            "units": (2, 1),
            "modules": (2, 4),
            "landmarks": 64,
            "logit_alpha": 0.05,
            "training": small_training(batch_size=64, lr=6e-3),
        },
        tuning_trials=19,
    ),
    "natural-patches": Preset(
        summary="three blocks of eleven modules in all, for minutes on 32x32 images",
        values={
            "units": (2, 1, 1),
            "modules": (2, 3, 4),
            "landmarks": 256,
            "dequantization": "uniform",
            # What is dropped between blocks has heavy tails in photographs (kurtosis 5.9).
            "split_prior": "conditional",
            "training": small_training(batch_size=8, lr=1e-2),
        },
        tuning_trials=7,
    ),
}


class DenseFlowConfig(DequantizedConfig):
    """Configuration of DenseFlow.

    Attributes:
        units: Units of each block; the blocks are separated by squeezing and dropping half.
        modules: Invertible modules of each unit, block by block.
        growth: Noise channels added before each unit but a block's first.
        noise: ``conditional``: mean and scale of the added noise come from earlier
            representations; ``white``: it is standard normal; ``none``: nothing is added.
        cross_unit: Whether conditional noise sees ``all`` earlier representations or the ``last``.
        split_prior: Prior of the half that is dropped between blocks: ``standard`` normal as
            released, or ``conditional``, as in Glow: a Gaussian whose mean and scale a convolution
            reads from the half that goes on.
        coupling: Coupling network: ``fusion`` of a dense block and attention, or Glow's
            ``convolutional`` one.
        width: Hidden channels of the coupling networks.
        dense_depth: Layers of their dense block.
        dense_growth: Channels that each of those layers appends.
        attention: Attention branch of ``fusion``: ``faithful`` to the released code, ``standard``
            Nystrom attention, or ``none``.
        head_width: Width of queries, keys and values.
        landmarks: Landmarks of the attention; with as many as positions it is softmax attention.
        dropout: Part of hidden channels of ``fusion`` networks that are dropped in training.
        checkpointing: Whether coupling networks are recomputed in the backward pass, for memory.
        dequantizer_steps: Flow steps of the variational dequantizer.
        dequantizer_width: Channels of its context and networks.
        dequantizer_depth: Layers of its dense blocks.
        dequantizer_growth: Channels that each layer of its coupling networks appends.
        context_growth: Channels that each layer of its context networks appends.
    """

    units: tuple[int, ...] = Field(default=(2, 1), min_length=1)
    modules: tuple[int, ...] = Field(default=(2, 4), min_length=1)
    growth: int = Field(default=2, ge=1)
    noise: Literal["conditional", "white", "none"] = "conditional"
    cross_unit: Literal["all", "last"] = "all"
    split_prior: Literal["standard", "conditional"] = "standard"
    coupling: Literal["fusion", "convolutional"] = "fusion"
    width: int = Field(default=16, ge=1)
    dense_depth: int = Field(default=2, ge=1)
    dense_growth: int = Field(default=16, ge=1)
    attention: Literal["faithful", "standard", "none"] = "standard"
    head_width: int = Field(default=8, ge=1)
    landmarks: int = Field(default=4, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    checkpointing: bool = False
    dequantizer_steps: int = Field(default=2, ge=1)
    dequantizer_width: int = Field(default=8, ge=1)
    dequantizer_depth: int = Field(default=1, ge=1)
    dequantizer_growth: int = Field(default=8, ge=1)
    context_growth: int = Field(default=8, ge=1)

    presets: ClassVar[Mapping[str, Preset]] = {**SMALL_PRESETS, **PAPER_PRESETS}

    @model_validator(mode="after")
    def _is_consistent(self) -> DenseFlowConfig:
        if len(self.units) != len(self.modules) or min(self.units + self.modules) < 1:
            raise ValueError(
                f"units {self.units} and modules {self.modules} need one number >= 1 for each block"
            )
        # See `run_checkpointed`: told now and not by torch, in the middle of a graph.
        if self.checkpointing and self.training.compile and self.coupling == "fusion":
            raise ValueError(
                "training.compile does not go with checkpointing of networks with batch norms, "
                "those of coupling=fusion; turn one of the two off"
            )
        return self

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``digits`` for images up to 16x16 or of odd sizes, else ``natural-patches``."""
        return "natural-patches" if is_large(data) else "digits"

    def unsupported(self, data: DatasetInfo) -> str | None:
        """DenseFlow squeezes images of integer levels, once for each block."""
        times = len(self.units)
        name, remedy = f"denseflow with {times} blocks", "set fewer units and modules"
        return super().unsupported(data) or halving_problem(data, times, model=name, remedy=remedy)

    @property
    def num_augmentations(self) -> tuple[int, ...]:
        """How often each block adds noise channels."""
        return tuple(0 if self.noise == "none" else units - 1 for units in self.units)
