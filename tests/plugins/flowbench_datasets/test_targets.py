from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from flowbench.api import DatasetSpec
from flowbench.data.library.content import content_hash
from flowbench.data.library.splits import load_splits
from flowbench_datasets.specs import TARGETS

EACH = pytest.mark.parametrize("spec", TARGETS, ids=lambda spec: spec.name)
STEP, HALF = 0.05, 24.0


def resolve(reference: str | None) -> Callable[..., Any]:
    assert reference is not None
    module, _, name = reference.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found


def log_density(spec: DatasetSpec, x: NDArray[np.float64]) -> NDArray[np.float64]:
    assert spec.target is not None
    found: NDArray[np.float64] = resolve(spec.target.log_density)(torch.from_numpy(x)).numpy()
    return found


def grid() -> NDArray[np.float64]:
    line = np.arange(-HALF, HALF, STEP) + STEP / 2
    return np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)


@EACH
def test_the_stated_normaliser_is_what_the_density_integrates_to(spec: DatasetSpec) -> None:
    total = np.exp(log_density(spec, grid())).sum() * STEP**2
    assert spec.target is not None
    assert math.log(total) == pytest.approx(spec.target.log_normaliser, abs=1e-5)


@EACH
def test_test_points_are_draws_of_the_density_and_training_points_say_nothing_of_it(
    spec: DatasetSpec,
) -> None:
    data = load_splits(spec, resolve(spec.load), Path("unused"))
    points = grid()
    p = np.exp(log_density(spec, points))
    p /= p.sum()

    def largest_z(x: NDArray[Any]) -> float:
        """Counts in cells of side 1 against their probabilities."""
        place = np.floor(points).astype(int) @ [1000, 1]
        cells, which = np.unique(place, return_inverse=True)
        expected = np.bincount(which, weights=p) * len(x)
        found = np.searchsorted(cells, np.floor(x).astype(int) @ [1000, 1])
        counts = np.bincount(found, minlength=len(cells) + 1)[: len(cells)]
        many = expected > 20
        return float(np.abs((counts - expected)[many] / np.sqrt(expected[many])).max())

    assert largest_z(data.splits.test.x) < 4.5
    assert largest_z(data.splits.train.x) > 20
    np.testing.assert_allclose(data.splits.train.x.mean(axis=0), 0.0, atol=0.1)
    assert content_hash(data.splits) == content_hash(resolve(spec.load)(Path("unused")))


@EACH
def test_the_log_density_is_one_number_an_example_and_has_a_gradient(spec: DatasetSpec) -> None:
    assert spec.target is not None
    x = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    found = resolve(spec.target.log_density)(x)
    assert found.shape == (5,)
    assert found.dtype == torch.float64
    assert torch.autograd.gradcheck(resolve(spec.target.log_density), (x,))
