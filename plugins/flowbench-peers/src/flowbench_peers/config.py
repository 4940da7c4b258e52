"""The one configuration of all wrapped vector flows: one size and one training for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from flowbench.api import DatasetInfo, ModelConfig, Preprocessing, Preset, Standardise, Training
from pydantic import Field


class FlowConfig(ModelConfig):
    """Configuration of a wrapped flow.

    Attributes:
        transforms: Number of transformations.
        width: Hidden units of each layer of the networks.
        layers: Hidden layers of the networks.
        bins: Bins of splines; of no effect elsewhere.
    """

    transforms: int = Field(default=5, ge=1)
    width: int = Field(default=64, ge=1)
    layers: int = Field(default=2, ge=1)
    bins: int = Field(default=8, ge=2)
    preprocessing: Preprocessing = Preprocessing(bijections=(Standardise(per="dim"),))
    training: Training = Training(batch_size=256, lr=1e-3, clip_norm=10.0)

    presets: ClassVar[Mapping[str, Preset]] = {
        "default": Preset(summary="five transformations, networks of two layers of 64 units"),
    }

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Real-valued vectors of two dims or more."""
        if data.levels is not None:
            return f"the density is of real values, {data.name} has integer levels"
        if data.num_dims < 2:
            return f"needs 2 dims or more, {data.name} has {data.num_dims}"
        return None
