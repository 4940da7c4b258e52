"""Stands in for github.com/rtqichen/ffjord: its names around our own FFJORD."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from flowbench_models.continuous.ffjord.config import FFJORDConfig
from flowbench_models.continuous.ffjord.model import FFJORD
from tests.benchmarks.bench_free_form import PLANE


class CNF(nn.Module):
    flow: FFJORD

    def __init__(self, odefunc: Any, T: float, train_T: bool) -> None:
        super().__init__()
        assert isinstance(odefunc, import_module("lib.layers.odefunc").ODEfunc)
        values = {**FFJORDConfig.presets["planar"].values, "train_end_time": train_T}
        config = FFJORDConfig.model_validate(
            {**values, "hidden": odefunc.diffeq.hidden_dims, "end_time": T}
        )
        self.odefunc, self.flow = odefunc, FFJORD(config, PLANE)


class SequentialFlow(nn.Module):
    def __init__(self, flows: Sequence[CNF]) -> None:
        super().__init__()
        self.chain = nn.ModuleList(flows)

    def forward(self, x: Tensor, logpx: Tensor) -> tuple[Tensor, Tensor]:
        first = self.chain[0]
        assert isinstance(first, CNF)
        ((z,), ladj) = first.flow.to_latent(x)
        return z, logpx - ladj.view(-1, 1)
