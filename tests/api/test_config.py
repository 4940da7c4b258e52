from __future__ import annotations

import pytest

from flowbench.api import (
    DatasetInfo,
    GaussianNoise,
    Likelihood,
    ModelConfig,
    Preprocessing,
    UniformDequantization,
)


def info(levels: int | None) -> DatasetInfo:
    shape = (1, 2, 2) if levels else (4,)
    return DatasetInfo(
        name="d",
        modality="image" if levels else "vector",
        event_shape=shape,
        levels=levels,
        num_train=8,
        num_validation=1,
        num_test=1,
    )


@pytest.mark.parametrize(
    ("preprocessing", "levels", "expected"),
    [
        (
            Preprocessing(noise=UniformDequantization()),
            256,
            Likelihood(measure="discrete", dequantization="uniform", noise="weights", bound=True),
        ),
        (Preprocessing(support="discrete"), 256, Likelihood(measure="discrete")),
        (Preprocessing(), None, Likelihood(measure="continuous")),
        (Preprocessing(noise=GaussianNoise(sigma=0.1)), 256, Likelihood(measure="noisy")),
    ],
)
def test_default_likelihood_follows_from_the_preprocessing(
    preprocessing: Preprocessing, levels: int | None, expected: Likelihood
) -> None:
    assert ModelConfig(preprocessing=preprocessing).likelihood(info(levels)) == expected
