"""Stands in for github.com/didriknielsen/survae_flows: its names around our own SurVAE flow."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from flowbench.api import split_info
from flowbench_models.surjective.survae import SurVAE, SurVAEConfig
from tests.benchmarks.bench_released import data_info


class PoolFlow(nn.Module):
    def __init__(
        self, data_shape: tuple[int, ...], num_scales: int, num_steps: int, **sizes: Any
    ) -> None:
        super().__init__()
        assert sizes["dequant"] == "flow"
        config = SurVAEConfig(
            scales=num_scales,
            steps=num_steps,
            width=sizes["densenet_channels"],
            depth=sizes["densenet_depth"],
            dequantizer_steps=sizes["dequant_steps"],
        )
        self.flow = SurVAE(config, data_info(data_shape[0], data_shape[1]))

    def log_prob(self, raw: Tensor) -> Tensor:
        return split_info(self.flow.log_prob(raw))[0]
