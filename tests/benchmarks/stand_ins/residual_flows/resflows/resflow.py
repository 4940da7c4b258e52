"""Stands in for github.com/rtqichen/residual-flows: its names around our own Residual Flow."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flowbench_models.residual.config import ResidualFlowConfig
from flowbench_models.residual.model import ResidualFlow as OurResidualFlow
from tests.benchmarks.bench_released import data_info


class ResidualFlow(nn.Module):
    def __init__(
        self, size: tuple[int, ...], n_blocks: list[int], intermediate_dim: int, **fixed: Any
    ) -> None:
        super().__init__()
        assert fixed["n_power_series"] is None
        changes = {"blocks": n_blocks, "width": intermediate_dim}
        config = ResidualFlowConfig.model_validate(
            {**ResidualFlowConfig.presets["cifar10"].values, **changes, "unused": 0}
        )
        self.flow = OurResidualFlow(config, data_info(size[1], size[2]))
        self.unused = nn.Parameter(torch.zeros(2 * (sum(n_blocks) + config.dense_blocks)))

    def forward(self, x: Tensor, logpx: Tensor) -> tuple[Tensor, Tensor]:
        (z,), ladj = self.flow.to_latent(x)
        return z, logpx - ladj.view(-1, 1)
