"""From dequantized levels to the space that a flow works in."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from flowbench_models.bijections.base import Bijection, sum_event_dims


class LevelScaling(Bijection):
    r"""Maps [0, K] to [-1/2, 1/2], or by a logit to the real line.

    :math:`z = x / K - 1/2`, or :math:`z = \mathrm{logit}(\alpha + (1 - 2\alpha) x / K)`.

    Args:
        levels: Number K of levels.
        alpha: Keeps the logit's argument off 0 and 1; None leaves out the logit.
    """

    def __init__(self, levels: int, alpha: float | None) -> None:
        super().__init__()
        self.levels = levels
        self.alpha = alpha

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps dequantized levels of shape (B, ...) to the flow's space; see `Bijection`."""
        if self.alpha is None:
            ladj = x.new_full((x.shape[0],), -math.log(self.levels) * x[0].numel())
            return x / self.levels - 0.5, ladj
        slope = (1.0 - 2.0 * self.alpha) / self.levels
        z = torch.logit(self.alpha + slope * x)
        return z, sum_event_dims(math.log(slope) - F.logsigmoid(z) - F.logsigmoid(-z))

    def inverse(self, z: Tensor) -> Tensor:
        """Maps the flow's space to dequantized levels; outside [0, K] if z is far out."""
        if self.alpha is None:
            return (z + 0.5) * self.levels
        return (torch.sigmoid(z) - self.alpha) * (self.levels / (1.0 - 2.0 * self.alpha))
