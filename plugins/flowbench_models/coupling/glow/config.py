"""Glow's configuration; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from flowbench.api import DatasetInfo, ModelConfig, Preprocessing, Preset
from flowbench_models.coupling.glow.presets import PRESETS
from flowbench_models.defaults import CENTRED, halving_problem, is_large


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

    presets: ClassVar[Mapping[str, Preset]] = PRESETS

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``tiny`` for images up to 16x16 or of odd sizes, else ``small``."""
        return "small" if is_large(data) else "tiny"

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Glow squeezes images, so it needs them, of a size that can be halved ``levels`` times."""
        name = f"glow with levels={self.levels}"
        return halving_problem(data, self.levels, model=name, remedy="set fewer levels")
