"""What the tests of the models share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from flowbench.api import Batch, DatasetInfo, DensityModel, InvertibleModel, Step
from flowbench.data.preprocess import Preprocessor
from flowbench.evaluation.likelihood import log_mean_exp
from flowbench_models.bijections.base import Bijection
from tests.plugins.flowbench_models.fixtures import (
    AssertBoundTightens,
    AssertIsBijection,
    JacobianLogAbsDet,
    MakeDataset,
    ModuleT,
    Perturb,
    TrainOn,
    tensor,
)

NUM_DRAWS = 64


@pytest.fixture(autouse=True)
def _seeded_single_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def _dataset(*event_shape: int, levels: int | None = 17) -> DatasetInfo:
    return DatasetInfo(
        name="some-data",
        modality="image" if len(event_shape) == 3 else "vector",
        event_shape=event_shape,
        levels=levels,
        num_train=50_000,
        num_validation=10,
        num_test=10,
    )


def _perturb(module: ModuleT, std: float = 0.2) -> ModuleT:
    """Moves parameters off their initial values, so that no zero-initialised layer is trivial."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(std * torch.randn_like(parameter))
    return module.double()


def _jacobian_log_abs_det(function: Callable[[Tensor], Any], x: Tensor) -> Tensor:
    """log |det dz/dx| of each example by automatic differentiation, shape (B,)."""

    def flat(event: Tensor) -> Tensor:
        z = function(event.view(1, *x.shape[1:]))
        parts = z if isinstance(z, tuple) else (z,)
        return torch.cat([part.flatten() for part in parts])

    jacobians = [torch.autograd.functional.jacobian(flat, example.flatten()) for example in x]
    return torch.stack([torch.linalg.slogdet(jacobian).logabsdet for jacobian in jacobians])


@pytest.fixture
def dataset() -> MakeDataset:
    return _dataset


@pytest.fixture
def perturb() -> Perturb:
    return _perturb


@pytest.fixture
def jacobian_log_abs_det() -> JacobianLogAbsDet:
    return _jacobian_log_abs_det


@pytest.fixture
def assert_is_bijection() -> AssertIsBijection:
    """Holds a bijection to its contract: shapes, dtype, round trip, and ladj by the Jacobian."""

    def check(bijection: Bijection, x: Tensor) -> None:
        z, ladj = bijection(x)
        assert ladj.shape == (len(x),)
        assert ladj.dtype == x.dtype
        torch.testing.assert_close(bijection.inverse(z), x, rtol=0, atol=1e-6)
        expected = _jacobian_log_abs_det(lambda event: bijection(event)[0], x)
        torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-5)

    return check


def _train_on(model: InvertibleModel, x: Tensor, num_steps: int) -> None:
    """Initialises a model from a batch and fits it to that batch; its loss must fall."""
    generator = torch.Generator().manual_seed(0)
    step = Step(progress=torch.zeros(()), phase=0, group="all", generator=generator, seed=0)
    batch = Batch(x=x)
    model.initialize(batch, generator=torch.Generator())
    optimizer = torch.optim.Adamax(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(num_steps):
        optimizer.zero_grad()
        loss = tensor(model.loss(batch, step))
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-10:]) < losses[0]


@torch.no_grad()
def _assert_bound_tightens(model: DensityModel, raw: Tensor) -> None:
    """Draws log-weights as the harness does: their bound may not decrease in k, draws nested."""
    generator = torch.Generator().manual_seed(0)
    preprocessor = Preprocessor(model.config.preprocessing, model.data)
    dtype = next(model.parameters()).dtype
    draws = []
    for _ in range(NUM_DRAWS):
        x, ladj = preprocessor.forward(raw, generator)
        x = x.to(dtype) if x.is_floating_point() else x
        draws.append(tensor(model.log_prob(x, generator=generator)).double() + ladj.double())
    log_weights = torch.stack(draws, dim=1).numpy()  # (B, draws)
    bounds = []
    for k in (1, 2, 4, 8, 16, 32, NUM_DRAWS):
        of_groups = log_mean_exp(log_weights.reshape(-1, k))
        bounds.append(of_groups.reshape(len(raw), -1).mean(axis=1))
    assert np.isfinite(bounds).all()
    for looser, tighter in pairwise(bounds):
        assert (tighter >= looser - 1e-9).all()
    assert (bounds[-1] > bounds[0] + 1e-6).all()


@pytest.fixture
def train_on() -> TrainOn:
    return _train_on


@pytest.fixture
def assert_bound_tightens() -> AssertBoundTightens:
    return _assert_bound_tightens
