from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import flop_registry

from flowbench.api import (
    DataSplits,
    GenerativeModel,
    Group,
    MetricSettings,
    ModelConfig,
    Phase,
    Training,
)
from flowbench_metrics.flops import _counter, compute
from tests.plugins.flowbench_metrics.fakes import INFO, FakeTrained

NUM_TRAIN = 8  # fewer than a batch: the step is of all of them


class TwoLayers(GenerativeModel):
    """3 -> 5 -> 1, two optimizer groups, and a buffer that training mode moves."""

    def __init__(self) -> None:
        super().__init__(ModelConfig(), INFO)
        self.first = nn.Linear(3, 5)
        self.norm = nn.BatchNorm1d(5)
        self.second = nn.Linear(5, 1)

    def optimizer_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"all": list(self.parameters()), "last": list(self.second.parameters())}

    def loss(self, batch: Any, step: Any) -> torch.Tensor:
        x = batch.x.float()
        if step.group == "last":
            h = torch.ones(len(x), 5)
        else:
            h = torch.relu(self.norm(self.first(x)))
        loss: torch.Tensor = self.second(h).mean()
        return loss


def measured(
    trained: type[FakeTrained], splits: DataSplits, model: GenerativeModel
) -> dict[str, Any]:
    given = trained(model=model, on_draw=lambda num: torch.ones(num, 7) @ torch.ones(7, 11))
    return {v.name: v for v in compute(given, splits, MetricSettings())}


def test_a_step_and_a_sample_by_hand(trained: type[FakeTrained], splits: DataSplits) -> None:
    values = measured(trained, splits, TwoLayers())
    n = NUM_TRAIN
    forward = 2 * n * (3 * 5 + 5 * 1)
    backward = 2 * n * (3 * 5) + 2 * 2 * n * (5 * 1)  # nothing goes back to the data
    last = 2 * n * 5 + 2 * n * 5
    assert values["flops"].value == forward + backward + last
    assert values["flops"].protocol["batch_size"] == n
    assert values["flops_per_sample"].value == 2 * 7 * 11


def test_a_group_counts_as_often_as_it_steps(
    trained: type[FakeTrained], splits: DataSplits
) -> None:
    def counted(**training: Any) -> float | None:
        config = ModelConfig(training=Training(**training))
        draw = partial(torch.ones, 7)
        given = trained(model=TwoLayers(), config=config, on_draw=draw)
        return {v.name: v.value for v in compute(given, splits, MetricSettings())}["flops"]

    every, alone = counted(), counted(phases=(Phase(groups=("last",)),))
    assert every is not None
    assert alone == 2 * NUM_TRAIN * 5 * 2
    assert counted(groups={"last": Group(every=4)}) == every - 3 / 4 * alone


class Attention(GenerativeModel):
    """Tokens attend to one another: q k^T and its product with v."""

    def __init__(self, num_tokens: int, *backends: SDPBackend) -> None:
        super().__init__(ModelConfig(), INFO)
        self.tokens = nn.Parameter(torch.ones(1, 2, num_tokens, 4))  # (B, heads, N, d)
        self.backends = list(backends)

    def loss(self, batch: Any, step: Any) -> torch.Tensor:
        q, attend = self.tokens, nn.functional.scaled_dot_product_attention
        with sdpa_kernel(self.backends):
            mixed = attend(q, q, q, is_causal=True)
        return mixed.sum()


@pytest.mark.parametrize("num_tokens", [3, 65, 200])
@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
def test_attention_counts_the_same_whatever_kernel_computes_it(
    num_tokens: int, backend: SDPBackend, trained: type[FakeTrained], splits: DataSplits
) -> None:
    product = 2 * 2 * num_tokens**2 * 4  # two heads, N x N x d multiply-adds
    found = measured(trained, splits, Attention(num_tokens, backend))
    # Two products forward; backward the gradients of both factors of each.
    assert found["flops"].value == 6 * product


def test_no_kernel_of_attention_is_left_to_torchs_own_formula() -> None:
    """Those of devices that are not here, too: their formulas count the recomputed logits."""
    counter = _counter()
    fused = [op for op in flop_registry if "_scaled_dot_product_" in str(op)]
    q = (1, 2, 65, 4)
    for op in fused:
        is_backward = str(op).endswith("_backward")
        shapes = [q, q, q, q] if is_backward else [q, q, q]
        product = 2 * 2 * 65 * 65 * 4
        formula = counter.flop_registry[op]
        given = [torch.empty(shape, device="meta") for shape in shapes]
        assert formula(*given, out_val=None) == (4 if is_backward else 2) * product, op
    assert any("cudnn" in str(op) for op in fused)


def test_products_that_are_added_in_place_count(
    trained: type[FakeTrained], splits: DataSplits
) -> None:
    def draw(num: int) -> torch.Tensor:
        torch.zeros(2, 3, 5).baddbmm_(torch.ones(2, 3, 4), torch.ones(2, 4, 5))
        return torch.zeros(3, 5).addmm_(torch.ones(3, 4), torch.ones(4, 5))

    given = trained(model=TwoLayers(), on_draw=draw)
    values = {v.name: v.value for v in compute(given, splits, MetricSettings())}
    assert values["flops_per_sample"] == 2 * (2 + 1) * 3 * 4 * 5


class Penalised(TwoLayers):
    """The loss is of the gradient of a layer by what it is given."""

    def loss(self, batch: Any, step: Any) -> torch.Tensor:
        slopes = torch.func.grad(lambda at: self.first(at).sum())(batch.x.float())
        penalty: torch.Tensor = slopes.square().sum()
        return penalty


def test_gradients_within_a_loss_count(trained: type[FakeTrained], splits: DataSplits) -> None:
    # The layer, its gradient by the data, and that of the gradient by the weights.
    phases = (Phase(groups=("all",)),)
    config = ModelConfig(training=Training(phases=phases))
    given = trained(model=Penalised(), config=config, on_draw=partial(torch.ones, 7))
    values = {v.name: v.value for v in compute(given, splits, MetricSettings())}
    assert values["flops"] == 3 * 2 * NUM_TRAIN * 3 * 5


def test_samples_made_of_a_parameter_without_gradients_count(
    trained: type[FakeTrained], splits: DataSplits
) -> None:
    layer, start = nn.Linear(3, 5), nn.Parameter(torch.ones(3))

    def draw(num: int) -> torch.Tensor:
        with torch.no_grad():
            h = start.expand(num, -1)
        drawn: torch.Tensor = layer(h)
        return drawn

    given = trained(model=TwoLayers(), on_draw=draw)
    values = {v.name: v.value for v in compute(given, splits, MetricSettings())}
    assert values["flops_per_sample"] == 2 * 3 * 5


def test_counting_changes_nothing(trained: type[FakeTrained], splits: DataSplits) -> None:
    model = TwoLayers().eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.get_rng_state()
    measured(trained, splits, model)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not model.training
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_without_parameters_has_no_step(
    trained: type[FakeTrained], splits: DataSplits
) -> None:
    class Nothing(GenerativeModel):
        def __init__(self) -> None:
            super().__init__(ModelConfig(), INFO)

    assert measured(trained, splits, Nothing())["flops"].value == 0.0
    assert np.isfinite(measured(trained, splits, Nothing())["flops_per_sample"].value)


@pytest.mark.parametrize("name", ["flops", "flops_per_sample"])
def test_units(trained: type[FakeTrained], splits: DataSplits, name: str) -> None:
    value = measured(trained, splits, TwoLayers())[name]
    assert (value.unit, value.direction) == ("FLOP", "lower")
