"""The baseline that every image model must beat: an independent histogram for each pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from flowbench.api import (
    Batch,
    Context,
    DatasetInfo,
    DensityModel,
    ModelConfig,
    Preprocessing,
    Preset,
    SamplingOptions,
    Training,
)

COUNTING_BATCH = 1024
"""Examples counted at a time; it bounds the memory of fitting."""


class HistogramConfig(ModelConfig):
    """Configuration of the histogram.

    Attributes:
        pseudo_count: Added to the count of every level of every pixel, so that a level that the
            train split never shows still has a probability (additive smoothing).
    """

    pseudo_count: float = Field(default=0.3, gt=0)
    preprocessing: Preprocessing = Preprocessing(support="discrete")
    training: Training = Training(init_examples=None)

    presets: ClassVar[Mapping[str, Preset]] = {
        "default": Preset(
            summary="additive smoothing, chosen on the validation split of digits", tuning_trials=8
        ),
    }

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Only integers can be counted."""
        if data.levels is None:
            return f"histogram counts integer levels, {data.name} has real values"
        return None


class Histogram(DensityModel):
    r"""Independent categorical distributions, :math:`p(x) = \prod_d (n_{d,x_d} + \alpha) / Z`.

    Here n counts the train split, alpha is the pseudo-count and :math:`Z = N + \alpha K`. There is
    nothing to train: ``initialize`` fits it on the whole train split.

    Raises:
        ConfigError: The data are not integers.
    """

    config: HistogramConfig
    log_probs: Tensor

    def __init__(self, config: HistogramConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        uniform = torch.zeros(data.num_dims, data.levels or 0).log_softmax(dim=1)
        self.register_buffer("log_probs", uniform)  # (D, K)

    def initialize(self, batch: Batch, *, generator: torch.Generator) -> None:
        """Counts the levels of each pixel over the whole train split."""
        del generator
        counts = sum(
            (self._count(part) for part in torch.split(batch.x, COUNTING_BATCH)),
            # In float64: float32 cannot count beyond 2^24.
            start=torch.zeros_like(self.log_probs, dtype=torch.float64),
        )
        smoothed = counts + self.config.pseudo_count
        log_probs = (smoothed / smoothed.sum(dim=1, keepdim=True)).log()
        self.log_probs.copy_(log_probs)

    def optimizer_groups(self) -> dict[str, list[nn.Parameter]]:
        """None: the histogram is fitted, not trained."""
        return {}

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Exact log-probability of integer images (B, *event_shape)."""
        # Gathered along levels, pixel by pixel: the rows of the table are pixels.
        flat = x.flatten(1).t()  # (D, B)
        return self.log_probs.gather(1, flat).sum(dim=0)

    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: torch.Generator,
    ) -> Tensor:
        """Draws integer images; the temperature divides the log-probabilities."""
        probs = (self.log_probs / settings.temperature).softmax(dim=1)
        levels = torch.multinomial(probs, num, replacement=True, generator=generator)  # (D, num)
        return levels.t().reshape(num, *self.data.event_shape)

    def _count(self, x: Tensor) -> Tensor:
        num_dims, levels = self.log_probs.shape
        # One cell for each pair of pixel and level: a single pass counts all pixels.
        cells = x.flatten(1) + levels * torch.arange(num_dims, device=x.device)  # (B, D)
        return cells.flatten().bincount(minlength=num_dims * levels).view(num_dims, levels)
