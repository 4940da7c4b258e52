from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from flowbench.api import DatasetInfo, DataSplits, MetricSettings
from flowbench_metrics.foreign_auroc import auroc, compute, foreign_images
from tests.plugins.flowbench_metrics.fakes import BuildResult, FakeTrained, number


def image_data(name: str, *shape: int, levels: int) -> DatasetInfo:
    return DatasetInfo(
        name=name,
        modality="image",
        event_shape=shape,
        levels=levels,
        num_train=8,
        num_validation=2,
        num_test=4,
    )


def test_the_area_is_that_of_the_curve_ties_included() -> None:
    rng = np.random.default_rng(0)
    ours, foreign = rng.integers(0, 9, 80).astype(float), rng.integers(0, 6, 50).astype(float)
    scores = np.concatenate([ours, foreign])
    known = roc_auc_score([1] * 80 + [0] * 50, scores)
    assert auroc(ours, foreign)[0] == pytest.approx(known, abs=1e-12)
    assert auroc(foreign, ours)[0] == pytest.approx(1 - known, abs=1e-12)


def test_the_standard_error_is_the_spread_over_repeats() -> None:
    rng = np.random.default_rng(1)
    drawn = [auroc(rng.normal(1.0, 1.0, 60), rng.normal(size=40)) for _ in range(600)]
    areas, errors = np.array(drawn).T
    assert areas.mean() == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=4 * areas.std() / 24)
    assert errors.mean() == pytest.approx(areas.std(), rel=0.15)


def test_what_is_foreign_to_digits_are_photographs_and_else_digits() -> None:
    kind, cuts = foreign_images(image_data("digits", 1, 8, 8, levels=17), 50)
    assert kind == "photographs"
    assert cuts.shape == (50, 1, 8, 8)
    kind, digits = foreign_images(image_data("natural-patches", 3, 32, 32, levels=256), 2000)
    assert kind == "handwritten digits"
    assert digits.shape == (2000, 3, 32, 32)  # more than there are: some twice
    assert (digits[:, 0] == digits[:, 2]).all()
    for images, levels in ((cuts, 17), (digits, 256)):
        assert images.dtype.kind == "i"
        assert 0 <= images.min() < images.max() == levels - 1 or images.max() < levels
    again = foreign_images(image_data("digits", 1, 8, 8, levels=17), 50)[1]
    assert (again == cuts).all()


def test_the_metric_compares_test_images_with_foreign_ones(
    result: BuildResult, splits: DataSplits, settings: MetricSettings
) -> None:
    class Trained(FakeTrained):
        def log_prob(self, x: NDArray[Any], context: Any = None) -> NDArray[np.float64]:
            return -np.asarray(x.reshape(len(x), -1).mean(axis=1), dtype=np.float64)

    data = image_data("digits", 1, 8, 8, levels=17)
    trained = Trained(data=data, result=result([0.5, -1.0001, -20.0]))
    (value,) = compute(trained, splits, settings)
    means = foreign_images(data, 256)[1].reshape(256, -1).mean(axis=1)
    below = [(-means < one).mean() for one in (0.5, -1.0001, -20.0)]
    assert number(value) == pytest.approx(np.mean(below))
    assert (value.direction, value.num_examples, value.split) == ("higher", 3, "test")
    assert value.protocol["foreign"] == "photographs"
    assert value.stderr is not None
