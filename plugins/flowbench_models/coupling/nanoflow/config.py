"""NanoFlow's configuration; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from flowbench.api import DatasetInfo, ModelConfig, Preprocessing, Preset
from flowbench_models.coupling.nanoflow.presets import PAPER_PRESETS, SMALL_PRESETS
from flowbench_models.defaults import CENTRED, halving_problem, is_large


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
