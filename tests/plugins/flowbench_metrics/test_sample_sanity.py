from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from flowbench.api import DataSplits, MetricSettings, MetricValue, Samples, Split, TrainedModel
from flowbench_metrics.sample_sanity import compute, duplicate_share
from tests.plugins.flowbench_metrics.fakes import FakeTrained


def samples_of(x: np.ndarray, num_clipped: int = 0, num_nonfinite: int = 0) -> Samples:
    return Samples(
        x=x,
        context={},
        num_clipped=num_clipped,
        num_nonfinite=num_nonfinite,
        temperature=1.0,
        seed=0,
    )


def values_of(
    given: TrainedModel, splits: DataSplits, settings: MetricSettings
) -> dict[str, MetricValue]:
    return {value.name: value for value in compute(given, splits, settings)}


def test_shares_of_bad_values(
    trained: type[FakeTrained], splits: DataSplits, settings: MetricSettings
) -> None:
    samples = samples_of(np.zeros((4, 3)), num_clipped=3, num_nonfinite=1)
    values = values_of(trained(samples=samples), splits, settings)
    assert values["sample_sanity"].value == pytest.approx(4 / 12)
    assert values["sample_sanity_nonfinite"].value == pytest.approx(1 / 12)
    assert values["sample_sanity_duplicates"].value == pytest.approx(3 / 4)
    assert values["sample_sanity"].num_examples == 4


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (np.arange(12).reshape(4, 1, 3), 0.0),
        (np.array([[1, 2], [2, 1], [1, 2], [1, 2]], dtype=np.uint8), 0.5),
        (np.zeros((5, 2), dtype=np.float32), 0.8),
    ],
)
def test_duplicates(x: np.ndarray, expected: float) -> None:
    assert duplicate_share(x) == pytest.approx(expected)


def line(*values: float) -> Split:
    return Split(x=np.array(values)[:, None])


def test_the_ratio_of_nearest_distances(
    trained: type[FakeTrained], settings: MetricSettings
) -> None:
    splits = DataSplits(train=line(0.0, 10.0), test=line(2.0, 12.0), validation=line(5.0))
    samples = samples_of(np.array([[1.0], [8.0]]))
    value = values_of(trained(samples=samples), splits, settings)["sample_sanity_nearest"]
    assert value.value == pytest.approx(1.5 / 2.0)  # (1 + 2) / 2 over (2 + 2) / 2
    assert value.stderr == pytest.approx(0.5 / 2.0)  # only the samples' distances vary
    assert value.direction == "none"
    assert (value.protocol["num_train"], value.protocol["num_test"]) == (2, 2)


def test_both_errors_enter_the_ratio(trained: type[FakeTrained], settings: MetricSettings) -> None:
    splits = DataSplits(train=line(0.0), test=line(1.0, 3.0), validation=line(5.0))
    samples = samples_of(np.array([[2.0], [6.0]]))
    value = values_of(trained(samples=samples), splits, settings)["sample_sanity_nearest"]
    assert value.value == pytest.approx(4.0 / 2.0)
    assert value.stderr == pytest.approx(2.0 * math.hypot(2.0 / 4.0, 1.0 / 2.0))


def test_memorised_samples_have_ratio_zero(
    trained: type[FakeTrained], splits: DataSplits, settings: MetricSettings
) -> None:
    samples = samples_of(splits.train.x[:4].copy())
    value = values_of(trained(samples=samples), splits, settings)["sample_sanity_nearest"]
    assert value.value == 0.0


def test_samples_that_are_not_finite_are_left_out(
    trained: type[FakeTrained], splits: DataSplits, settings: MetricSettings
) -> None:
    x = splits.train.x[:4].copy()
    x[1] = math.nan
    samples = samples_of(x, num_nonfinite=3)
    value = values_of(trained(samples=samples), splits, settings)["sample_sanity_nearest"]
    assert (value.value, value.num_examples) == (0.0, 3)
    x[:] = math.inf
    value = values_of(trained(samples=samples), splits, settings)["sample_sanity_nearest"]
    assert (value.value, value.status) == (None, "unavailable")


def test_test_data_that_equal_training_data_give_no_scale(
    trained: type[FakeTrained], splits: DataSplits, settings: MetricSettings
) -> None:
    same = dataclasses.replace(splits, test=Split(x=splits.train.x[:4]))
    samples = samples_of(splits.test.x)
    value = values_of(trained(samples=samples), same, settings)["sample_sanity_nearest"]
    assert (value.value, value.status) == (None, "unavailable")
