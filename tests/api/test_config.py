from __future__ import annotations

import pytest
from pydantic import ValidationError

from flowbench.api import (
    DatasetInfo,
    GaussianNoise,
    Likelihood,
    Logit,
    ModelConfig,
    Phase,
    Preprocessing,
    Scale,
    Training,
    UniformDequantization,
)


def info(levels: int | None) -> DatasetInfo:
    shape = (1, 2, 2) if levels else (4,)
    modality = "image" if levels else "vector"
    return DatasetInfo(
        name="d",
        modality=modality,
        event_shape=shape,
        levels=levels,
        num_train=8,
        num_validation=1,
        num_test=1,
    )


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Training(learning_rate=1)


def test_phases_must_fill_the_budget() -> None:
    with pytest.raises(ValidationError, match=r"sum to 0\.9"):
        Training(phases=(Phase(share=0.5), Phase(share=0.4)))


def test_discrete_support_allows_no_preprocessing() -> None:
    with pytest.raises(ValidationError, match="no noise, no bijections"):
        Preprocessing(support="discrete", bijections=(Logit(),))


def test_scale_must_increase() -> None:
    with pytest.raises(ValidationError, match="low < high"):
        Scale(low=1, high=0)


@pytest.mark.parametrize(
    ("preprocessing", "levels", "expected"),
    [
        (
            Preprocessing(noise=UniformDequantization()),
            256,
            Likelihood(measure="discrete", dequantization="uniform", estimate="bound"),
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


@pytest.mark.parametrize(
    ("estimate", "stochastic", "importance_weighted"),
    [
        ("exact", False, False),
        ("numerical", False, False),
        ("bound", True, True),
        ("elbo", True, False),
        ("unbiased", True, False),
    ],
)
def test_how_draws_are_combined(estimate: str, stochastic: bool, importance_weighted: bool) -> None:
    kind = Likelihood(measure="continuous", estimate=estimate)
    assert (kind.stochastic, kind.importance_weighted) == (stochastic, importance_weighted)
