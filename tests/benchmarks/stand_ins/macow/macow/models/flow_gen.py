"""Stands in for github.com/XuezheMax/macow: its names around our own MaCow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from flowbench.api import split_info
from flowbench_models.autoregressive.macow.config import MaCowConfig
from flowbench_models.autoregressive.macow.model import MaCow
from tests.benchmarks.bench_multi_scale import SHAPE
from tests.benchmarks.bench_released import data_info


class FlowGenModel(nn.Module):
    def __init__(self, flow: Mapping[str, Any]) -> None:
        super().__init__()
        steps = [steps if isinstance(steps, list) else [steps] for steps in flow["num_steps"]]
        levels = {
            "steps": steps,
            "factors": flow["factors"],
            "widths": flow["hidden_channels"],
            "reach": flow["kernel_size"][0],
            "span": flow["kernel_size"][1],
        }
        config = MaCowConfig.model_validate({"levels": levels, "dequantization": "uniform"})
        self.flow = MaCow(config, data_info(SHAPE[0], SHAPE[1]))

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> FlowGenModel:
        return cls(params["flow"])

    def log_probability(self, x: Tensor) -> Tensor:
        return split_info(self.flow.log_prob(x / 2))[0]
