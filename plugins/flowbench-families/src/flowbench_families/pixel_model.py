"""Models that give each pixel a law, given all pixels before it."""

from __future__ import annotations

import torch
from flowbench.api import Context, DatasetInfo, DensityModel
from torch import Tensor

from flowbench_families.laws import PixelLaw
from flowbench_families.pixels import PixelConfig


class PixelModel(DensityModel):
    r"""Base of models that go through an image row by row from the left.

    .. math:: p(x) = \prod_i p(x_i \mid x_1, \ldots, x_{i-1})

    A subclass names the law of a pixel, and gives the parameters of all.

    Attributes:
        law: Of the levels of a pixel.
    """

    config: PixelConfig

    def __init__(self, config: PixelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.law = self.make_law(levels=data.levels or 0, channels=data.event_shape[0])

    def make_law(self, *, levels: int, channels: int) -> PixelLaw:
        """The law of a pixel of so many levels and channels."""
        raise NotImplementedError

    def parameters_of(self, levels: Tensor) -> Tensor:
        """The parameters of all pixels of images.

        Args:
            levels: Integers, shape (B, C, H, W).

        Returns:
            Shape (B, num_parameters, H, W).
        """
        raise NotImplementedError

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Exact log-probability of integer images (B, C, H, W)."""
        del context, generator
        return self.law.log_prob(x, self.parameters_of(x)).sum(dim=(1, 2))
