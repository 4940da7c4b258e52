"""What configurations of models that go pixel by pixel share; imports no torch."""

from __future__ import annotations

from typing import ClassVar

from flowbench.api import DatasetInfo, Ema, ModelConfig, Preprocessing, Training
from pydantic import Field

LARGEST_TINY = 16
"""Height or width up to which an image takes the smallest preset."""

SMALL = Training(
    batch_size=32,
    optimizer="adamw",
    lr=3e-3,
    weight_decay=0.1,
    clip_norm=10.0,
    average=Ema(decay=0.99),
)


def default_image_preset(data: DatasetInfo) -> str:
    """``digits`` for images up to 16x16, else ``natural-patches``."""
    large = max(data.event_shape[1:], default=1) > LARGEST_TINY
    return "natural-patches" if large else "digits"


class PixelConfig(ModelConfig):
    """Base of their configurations: integers come as they are, and presets go by the size.

    Attributes:
        called: The model's name.
        width: Channels of both streams.
    """

    called: ClassVar[str]

    width: int = Field(default=32, ge=1)
    preprocessing: Preprocessing = Preprocessing(support="discrete")
    training: Training = SMALL

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``digits`` for images up to 16x16, else ``natural-patches``."""
        return default_image_preset(data)

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Images of integer levels."""
        if len(data.event_shape) != 3:
            shape = data.event_shape
            return f"{self.called} needs images (C, H, W), {data.name} has events of shape {shape}"
        if data.levels is None:
            return f"{self.called} gives integer levels probabilities, {data.name} has real values"
        return None
