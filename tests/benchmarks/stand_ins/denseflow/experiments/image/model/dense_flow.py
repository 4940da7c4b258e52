"""Stands in for github.com/matejgrcic/DenseFlow: its names around our own DenseFlow."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from torch import nn

from flowbench_models.augmented.denseflow.config import DenseFlowConfig
from flowbench_models.augmented.denseflow.model import DenseFlow as OurDenseFlow
from tests.benchmarks.bench_released import data_info


def DequantizationFlow(**sizes: Any) -> dict[str, Any]:
    """The sizes that a dequantizer is asked for."""
    return sizes


class DenseFlow(nn.Module):
    """Asks for its parts by the names that the benchmark gave sizes of its own."""

    def __init__(
        self,
        data_shape: tuple[int, int, int],
        block_config: list[int],
        layers_config: list[int],
        layer_mid_chnls: list[int],
        growth_rate: int,
        checkpointing: bool,
    ) -> None:
        super().__init__()
        width = layer_mid_chnls[0]
        coupling = import_module("model.affine_coupling").DNMH(4, 4, width, checkpointing)
        context = import_module("model.dequantization").DenseBlock()
        dequantizer = DequantizationFlow()
        paper = DenseFlowConfig.presets["74-10"].values
        changes = {
            "units": block_config,
            "modules": layers_config,
            "width": coupling["mid_channels"],
            "growth": growth_rate,
            "dense_depth": coupling["depth"],
            "dense_growth": coupling["growth"],
            "head_width": width // 2,
            "dequantizer_steps": dequantizer["num_steps"],
            "dequantizer_width": dequantizer["num_context"],
            "dequantizer_depth": dequantizer["depth"],
            "dequantizer_growth": dequantizer["growth"],
            "context_growth": context["growth"],
        }
        config = DenseFlowConfig.model_validate({**paper, **changes})
        channels, side, _ = data_shape
        self.flow = OurDenseFlow(config, data_info(channels, side))
