from __future__ import annotations

import gc
from pathlib import Path

import numpy as np

from flowbench_metrics import features
from flowbench_metrics.extractors import Weights
from flowbench_metrics.features import BATCH, features_of
from tests.plugins.flowbench_metrics.fakes import FakeTrained
from tests.plugins.flowbench_metrics.images import Pixels, image_info, images, samples_of


def test_features_follow_the_images_and_are_computed_once(
    trained: type[FakeTrained], tmp_path: Path
) -> None:
    info, pixels = image_info(), Pixels()
    given, weights = trained(data=info), Weights(tmp_path, "00")
    parts = [images(BATCH + 3, 0, info), images(2, 1, info)]
    drawn = samples_of(parts[0])
    for _ in range(2):
        found = features_of(given, pixels, weights, drawn, parts)["pixels"]
    np.testing.assert_array_equal(found, np.concatenate(parts).reshape(-1, 4))
    assert (pixels.num_images, given.num_ticks) == (BATCH + 5, 3)


def test_other_samples_have_other_features(trained: type[FakeTrained], tmp_path: Path) -> None:
    info, pixels, weights = image_info(), Pixels(), Weights(tmp_path, "00")
    given = trained(data=info)
    first, second = samples_of(images(4, 0, info)), samples_of(images(4, 1, info))
    one, other = (features_of(given, pixels, weights, s, [s.x])["pixels"] for s in (first, second))
    assert not np.array_equal(one, other)


def test_features_are_forgotten_with_their_samples(
    trained: type[FakeTrained], tmp_path: Path
) -> None:
    info = image_info()
    drawn = samples_of(images(4, 0, info))
    features_of(trained(data=info), Pixels(), Weights(tmp_path, "00"), drawn, [drawn.x])
    assert id(drawn) in features._shared
    key = id(drawn)
    del drawn
    gc.collect()
    assert key not in features._shared
