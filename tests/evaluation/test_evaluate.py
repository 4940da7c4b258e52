from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch

from flowbench.api.config import MetricSettings, ModelConfig, Preprocessing
from flowbench.api.data import DataSplits
from flowbench.api.specs import DatasetInfo, MetricSpec
from flowbench.data.preprocess import Preprocessor
from flowbench.evaluation.evaluate import not_applicable, requested_metrics
from flowbench.evaluation.harness import Harness
from flowbench.evaluation.trained import EvaluatedModel
from flowbench.registry import Registry
from flowbench.registry.build import build_model, load_dataset
from tests.costs import NO_COST

SPEC = MetricSpec(name="m", compute="", unit="", direction="none", summary="")


@pytest.fixture
def info(fake_registry: Registry) -> DatasetInfo:
    return load_dataset(fake_registry, "fake-vectors", ".").info


def test_all_that_apply_are_the_defaults(info: DatasetInfo) -> None:
    specs = {
        "plain": SPEC,
        "opt-in": replace(SPEC, default=False),
        "for two dims": replace(SPEC, num_dims=2),
        "for three dims": replace(SPEC, num_dims=3),
        "for others": replace(SPEC, datasets=frozenset({"digits"})),
        "for these": replace(SPEC, datasets=frozenset({info.name})),
    }
    assert requested_metrics(specs, None, info) == ["plain", "for two dims", "for these"]
    assert requested_metrics(specs, ["opt-in"], info) == ["opt-in"]


def test_what_does_not_apply_says_why(info: DatasetInfo) -> None:
    assert not_applicable(replace(SPEC, num_dims=3), info) == (
        "m is defined for 3 dims, fake-vectors has 2"
    )
    assert not_applicable(replace(SPEC, datasets=frozenset({"digits"})), info) == (
        "m is defined for digits"
    )


def test_log_prob_of_test_data_is_their_likelihood(
    fake_registry: Registry, fakes: ModuleType
) -> None:
    data = load_dataset(fake_registry, "fake-vectors", ".")
    config: ModelConfig = fakes.GaussianConfig(preprocessing=Preprocessing())
    model = build_model(fake_registry, "fake-gaussian", config.model_dump(), data.info).eval()
    preprocessor = Preprocessor(model.config.preprocessing, data.info, torch.device("cpu"))
    preprocessor.fit(data.splits.train)
    ticks: list[int] = []
    doing: list[str] = []
    harness = Harness(
        preprocessor=preprocessor,
        splits=data.splits,
        settings=MetricSettings(eval_draws=2),
        tick=lambda: ticks.append(1),
        announce=doing.append,
    )
    trained = EvaluatedModel(model, harness, NO_COST)
    given = trained.log_prob(data.splits.test.x)
    np.testing.assert_allclose(given, trained.likelihood("test").log_prob, rtol=1e-6)
    ticks.clear()
    trained.tick()
    trained.tick("measuring")
    assert (len(ticks), doing) == (2, ["measuring"])
    assert (trained.weights, trained.data_sha256) == (None, "")


def test_the_harness_says_what_it_took_off_the_training_split(fake_registry: Registry) -> None:
    splits: DataSplits = load_dataset(fake_registry, "fake-vectors", ".").splits
    assert splits.validation_of_train
    assert len(splits.train) + len(splits["validation"]) == 400
