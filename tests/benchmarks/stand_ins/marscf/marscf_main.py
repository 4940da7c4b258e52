"""Stands in for github.com/visinf/mar-scf: its names around our own mAR-SCF."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from flowbench.api import bits_per_dim, split_info
from flowbench_models.coupling.marscf.config import MARSCFConfig
from flowbench_models.coupling.marscf.model import MARSCF
from tests.benchmarks.bench_released import data_info


class MixLogCDFCoupling(nn.Module):
    pass


class MarScfFlow(nn.Module):
    def __init__(
        self, batch_size: int, shape: Sequence[int], coupling: str, L: int, K: int, C: int
    ) -> None:
        super().__init__()
        assert coupling == "affine"
        config = MARSCFConfig(levels=L, steps=K, width=C, coupling="affine")
        self.flow = MARSCF(config, data_info(shape[2], shape[0]))

    def forward(self, x: Tensor) -> tuple[None, Tensor, None]:
        log_prob, _ = split_info(self.flow.log_prob(x))
        return None, -bits_per_dim(log_prob, x[0].numel()), None
