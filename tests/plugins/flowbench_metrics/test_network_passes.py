from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowbench.api import (
    Context,
    DatasetInfo,
    InvertibleModel,
    Latents,
    MetricSettings,
    ModelConfig,
)
from flowbench_metrics.network_passes import _Uses, compute
from tests.plugins.flowbench_metrics.fakes import number
from tests.plugins.trained import loaded, trained

DIMS = 6


def passes(choice: str, dataset: str = "breast-cancer") -> tuple[float, float]:
    values = compute(trained(choice, dataset, 0), loaded(dataset).splits, MetricSettings())
    found = {value.name: number(value) for value in values}
    return found["network_passes"], found["network_passes_sampling"]


def test_autoregressive_flows_pass_once_one_way_and_about_once_an_element_the_other() -> None:
    dims = loaded("breast-cancer").info.num_dims
    assert passes("maf") == (1.0, dims)
    assert passes("iaf") == (dims, 1.0)
    assert passes("realnvp") == (1.0, 1.0)
    assert passes("nsf:table") == (1.0, 1.0)


class Asked(InvertibleModel):
    """One network, asked as often as told, by weights that are masked on the way or not."""

    mask: Tensor

    def __init__(self, times: int, masked: bool) -> None:
        data = DatasetInfo(
            name="v", modality="vector", event_shape=(DIMS,), levels=None,
            num_train=1, num_validation=1, num_test=1,
        )  # fmt: skip
        super().__init__(ModelConfig(), data)
        self.weight, self.times, self.masked = nn.Parameter(torch.eye(DIMS)), times, masked
        self.register_buffer("mask", torch.ones(DIMS, DIMS).tril())

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        for _ in range(self.times):
            weight = self.weight * self.mask if self.masked else self.weight
            x = x @ weight[: DIMS - 1].mT @ weight.new_zeros(DIMS - 1, DIMS) + x
        return (x,), x.new_zeros(len(x))


@pytest.mark.parametrize("times", [0, 1, 5])
@pytest.mark.parametrize("masked", [True, False])
def test_uses_of_a_weight_are_counted_however_it_is_cut(times: int, masked: bool) -> None:
    model: Any = Asked(times, masked)
    with torch.no_grad(), _Uses(model) as uses:
        model.log_prob(torch.randn(2, DIMS))
    assert uses.most == times


def test_data_written_into_a_constant_are_data() -> None:
    model: Any = Asked(1, masked=False)
    with torch.no_grad(), _Uses(model) as uses:
        room = torch.zeros(2, DIMS)
        assert uses.most == 0
        room @ model.weight  # a product of constants is made of weights alone
        assert uses.most == 0
        room.copy_(torch.randn(2, DIMS))
        room @ model.weight
    assert uses.most == 1
