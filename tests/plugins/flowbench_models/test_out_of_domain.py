"""Tables as they come: far tails, columns that never change, columns of integers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from flowbench.api import Batch, DatasetInfo, InvertibleModel, SamplingOptions, Split, split_info
from flowbench.contract.models.brief_training import train
from flowbench.data.preprocess import Preprocessor
from flowbench.registry.build import build_model
from flowbench.registry.configs import configure
from tests.plugins.trained import registry

MODELS = ["realnvp", "made", "maf", "maf:table", "iaf", "nsf:vector", "nsf:vector-ar", "nsf:table"]
NUM, DIMS = 512, 4

Rows = NDArray[np.float32]


def _normal(rng: np.random.Generator) -> Rows:
    return rng.standard_normal((NUM, DIMS)).astype(np.float32)


def far_tails(rng: np.random.Generator) -> Rows:
    """Cauchy: some values are ten thousand times as far out as most."""
    return rng.standard_cauchy((NUM, DIMS)).astype(np.float32)


def one_outlier(rng: np.random.Generator) -> Rows:
    x = _normal(rng)
    x[0] = 1e12
    return x


def a_constant_column(rng: np.random.Generator) -> Rows:
    x = _normal(rng)
    x[:, 1] = 3.7
    return x


def nothing_but_constants(rng: np.random.Generator) -> Rows:
    del rng
    return np.full((NUM, DIMS), 0.1, np.float32)


def a_column_of_integers(rng: np.random.Generator) -> Rows:
    x = _normal(rng)
    x[:, 2] = rng.integers(0, 3, NUM)
    return x


def a_column_mostly_zero(rng: np.random.Generator) -> Rows:
    x = _normal(rng)
    x[:, 0] *= rng.uniform(size=NUM) < 0.02
    return x


def two_columns_alike(rng: np.random.Generator) -> Rows:
    x = _normal(rng)
    x[:, 3] = x[:, 0]
    return x


def dates(rng: np.random.Generator) -> Rows:
    return (1.7e9 + 1e4 * _normal(rng)).astype(np.float32)


KINDS = [
    far_tails,
    one_outlier,
    a_constant_column,
    nothing_but_constants,
    a_column_of_integers,
    a_column_mostly_zero,
    two_columns_alike,
    dates,
]


FAST = [("maf", a_constant_column), ("iaf", a_constant_column), ("nsf:vector", far_tails)]
CASES = [(choice, kind) for choice in MODELS for kind in KINDS]


@pytest.mark.parametrize(
    ("choice", "kind"),
    [
        pytest.param(*case, marks=() if case in FAST else pytest.mark.slow, id=f"{case[0]}-{name}")
        for case in CASES
        for name in (case[1].__name__,)
    ],
)
def test_it_trains_and_everything_stays_a_number(
    choice: str, kind: Callable[[np.random.Generator], Rows]
) -> None:
    x = kind(np.random.default_rng(0))
    info = DatasetInfo(
        name=kind.__name__, modality="vector", event_shape=(DIMS,), levels=None,
        num_train=NUM, num_validation=NUM, num_test=NUM,
    )  # fmt: skip
    config = configure(registry(), choice, info, {}).config.model_dump(mode="json")
    model = build_model(registry(), choice.partition(":")[0], config, info)
    assert isinstance(model, InvertibleModel)
    preprocessor = Preprocessor(model.config.preprocessing, info)
    preprocessor.fit(Split(x=x))
    noise = torch.Generator().manual_seed(0)
    y, _ = preprocessor.forward(torch.from_numpy(x), noise)
    with torch.no_grad():
        model.initialize(Batch(x=y[:256]), generator=noise)
    train(model, preprocessor, Split(x=x), 25, limit_s=60.0)
    model.eval()
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    with torch.no_grad():
        log_prob = split_info(model.log_prob(y))[0]
        (z,), _ = model.to_latent(y)
        drawn = split_info(model.sample(64, settings=SamplingOptions(), generator=noise))[0]
    assert log_prob.isfinite().all()
    assert z.isfinite().all()
    assert preprocessor.inverse(drawn).num_nonfinite == 0
