from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor, nn

from flowbench.api import Batch, ModelConfig
from flowbench.data.batches import TrainBatches
from flowbench.data.library.splits import LoadedData
from flowbench.data.preprocess import Preprocessor
from flowbench.errors import ContractError
from flowbench.registry import Registry
from flowbench.registry.build import load_dataset
from flowbench.training.device import Device
from flowbench.training.refit import NUM_BATCHES, Refit
from tests.fakes import Gaussian


@pytest.fixture
def data(fake_registry: Registry) -> LoadedData:
    return load_dataset(fake_registry, "fake-images", ".")


@pytest.fixture
def refit(data: LoadedData) -> Refit:
    preprocessor = Preprocessor(ModelConfig().preprocessing, data.info)
    split = data.splits.train
    return Refit(
        preprocessor, lambda seed: TrainBatches(split, 8, seed, "cpu"), Device("cpu", "a CPU", None)
    )


class Moving(Gaussian):
    """Its refit does what it is told."""

    def __init__(self, data: LoadedData, does: Callable[[Moving, list[Batch]], object]) -> None:
        super().__init__(ModelConfig(), data.info)
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(()))
        self._does = does

    def refit(self, batches: Iterable[Batch], *, generator: torch.Generator) -> None:
        assert not torch.is_grad_enabled()
        self._does(self, list(batches))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda model, _: model.mean.add_(1.0), "mean"),
        (lambda model, _: model.log_std.data.fill_(2.0), "log_std"),
        (lambda model, _: model.register_parameter("more", nn.Parameter(torch.ones(1))), "more"),
    ],
)
def test_a_refit_that_changes_a_parameter_is_refused(
    refit: Refit, data: LoadedData, change: Callable[[Moving, list[Batch]], object], name: str
) -> None:
    with pytest.raises(ContractError, match=f"refit of Moving changed the parameter '{name}'"):
        refit(Moving(data, change))


def test_each_refit_sees_the_same_batches(refit: Refit, data: LoadedData) -> None:
    seen: list[list[Batch]] = []
    model = Moving(data, lambda _, batches: seen.append(batches))
    refit(model)
    refit(model)
    assert len(seen[0]) == NUM_BATCHES
    assert all(torch.equal(a.x, b.x) for a, b in zip(*seen, strict=True))


def test_a_part_of_a_refit_sees_the_first_batches(refit: Refit, data: LoadedData) -> None:
    seen: list[list[Batch]] = []
    model = Moving(data, lambda _, batches: seen.append(batches))
    for part in (1 / 8, 0.5, 1 / 1000):
        refit(model, part)
    refit(model)
    assert [len(batches) for batches in seen] == [3, 10, 1, NUM_BATCHES]
    for batches in seen[:3]:
        assert all(torch.equal(a.x, b.x) for a, b in zip(batches, seen[3], strict=False))


def test_buffers_are_put_back_after_a_score(refit: Refit, data: LoadedData) -> None:
    model = Moving(data, lambda model, _: model.scale.fill_(3.0))
    with refit.while_scored(model, 1.0):
        assert model.scale.item() == 3.0
    assert model.scale.item() == 1.0
    refit(model)
    assert model.scale.item() == 3.0
