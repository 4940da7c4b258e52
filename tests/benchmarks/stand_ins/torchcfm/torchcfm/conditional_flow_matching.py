"""Stands in for the released paths, with pairs as they come."""

from __future__ import annotations

import torch
from torch import Tensor


class ExactOptimalTransportConditionalFlowMatcher:
    def __init__(self, sigma: float) -> None:
        assert sigma == 0.0

    def sample_location_and_conditional_flow(
        self, x0: Tensor, x1: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        t = torch.rand(len(x0))
        return t, torch.lerp(x0, x1, t[:, None, None, None]), x1 - x0
