"""Stands in for github.com/y0ast/Glow-PyTorch: its names around our own Glow."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from flowbench.api import bits_per_dim, split_info
from flowbench_models.coupling.glow.config import GlowConfig
from flowbench_models.coupling.glow.model import Glow as OurGlow
from tests.benchmarks.bench_released import data_info


class Glow(nn.Module):
    def __init__(
        self,
        image_shape: tuple[int, int, int],
        hidden_channels: int,
        K: int,
        L: int,
        **fixed: Any,
    ) -> None:
        super().__init__()
        assert fixed["LU_decomposed"]
        assert fixed["flow_coupling"] == "affine"
        side, _, channels = image_shape
        config = GlowConfig(levels=L, steps=K, width=hidden_channels)
        self.flow = OurGlow(config, data_info(channels, side))

    def forward(self, x: Tensor, y: None) -> tuple[None, Tensor, None]:
        log_prob, _ = split_info(self.flow.log_prob(x))
        return None, bits_per_dim(log_prob, x[0].numel()), None
