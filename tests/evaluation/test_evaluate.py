from __future__ import annotations

from dataclasses import replace

import pytest

from flowbench.api.data import DataSplits
from flowbench.api.specs import DatasetInfo, MetricSpec
from flowbench.evaluation.evaluate import not_applicable, requested_metrics
from flowbench.registry import Registry
from flowbench.registry.build import load_dataset

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


def test_the_harness_says_what_it_took_off_the_training_split(fake_registry: Registry) -> None:
    splits: DataSplits = load_dataset(fake_registry, "fake-vectors", ".").splits
    assert splits.validation_of_train
    assert len(splits.train) + len(splits["validation"]) == 400
