from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from flowbench.api import DatasetInfo, MetricSettings
from flowbench_datasets.digits import load
from flowbench_metrics.fd_digits_cnn import compute
from tests.plugins.flowbench_metrics.fakes import FakeTrained
from tests.plugins.flowbench_metrics.images import image_info, images, samples_of

DIGITS = load(Path("unused"))
INFO = DatasetInfo(
    name="digits",
    modality="image",
    event_shape=(1, 8, 8),
    levels=17,
    num_train=1437,
    num_validation=0,
    num_test=360,
)


def distance(trained: type[FakeTrained], x: np.ndarray) -> dict[str, float | None]:
    """The values by name; None where there is none."""
    given = trained(data=INFO, samples=samples_of(x))
    values = compute(given, DIGITS, MetricSettings(num_samples=len(x)))
    return {value.name: value.value for value in values}


def corrupted(share: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = DIGITS.train.x[:256].copy()
    noise = rng.integers(0, 17, x.shape).astype(np.uint8)
    return np.asarray(np.where(rng.random(x.shape) < share, noise, x))


def test_the_more_noise_the_larger_the_distance(trained: type[FakeTrained]) -> None:
    given = [distance(trained, corrupted(s))["fd-digits-cnn"] for s in (0.0, 0.1, 0.3, 1.0)]
    found = [value for value in given if value is not None]
    assert len(found) == 4
    assert all(b > 1.5 * a for a, b in itertools.pairwise(found))


def test_the_floor_is_what_real_digits_score(trained: type[FakeTrained]) -> None:
    chosen = np.linspace(0, 359, 256).astype(int)
    values = distance(trained, DIGITS.test.x[chosen])
    assert values["fd-digits-cnn"] == pytest.approx(values["fd-digits-cnn_floor"])
    blank = distance(trained, np.zeros((256, 1, 8, 8), np.uint8))
    of_blank, floor = blank["fd-digits-cnn"], blank["fd-digits-cnn_floor"]
    assert of_blank is not None
    assert floor is not None
    assert of_blank > 20.0 * floor


def test_names_and_numbers_of_samples(trained: type[FakeTrained]) -> None:
    assert list(distance(trained, DIGITS.train.x[:256])) == ["fd-digits-cnn", "fd-digits-cnn_floor"]
    assert list(distance(trained, DIGITS.train.x[:100])) == [
        "fd-digits-cnn@100",
        "fd-digits-cnn_floor@100",
    ]
    assert list(distance(trained, DIGITS.train.x[:361])) == ["fd-digits-cnn@361"]
    assert distance(trained, DIGITS.train.x[:63]) == {"fd-digits-cnn": None}
    whole = distance(trained, DIGITS.train.x)
    assert whole["fd-digits-cnn@1437"] == pytest.approx(0.0, abs=1e-9)


def test_other_images_have_no_such_features(trained: type[FakeTrained]) -> None:
    info = image_info(channels=3, size=8)
    given = trained(data=info, samples=samples_of(images(256, 0, info)))
    (value,) = compute(given, DIGITS, MetricSettings())
    assert "digits-cnn knows images of 1x8x8 and 17 levels" in str(value.reason)
