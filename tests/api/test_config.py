from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from flowbench.api import (
    DatasetInfo,
    GaussianNoise,
    Likelihood,
    Logit,
    MetricSettings,
    ModelConfig,
    Phase,
    Preprocessing,
    SampleSettings,
    Scale,
    Training,
    UniformDequantization,
)
from flowbench.api.config import likelihood_as_version_2, training_as_version_2


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


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Training.model_validate({"learning_rate": 1})


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


@pytest.mark.parametrize(
    ("estimate", "expected", "stochastic", "importance_weighted"),
    [
        ("exact", {}, False, False),
        ("numerical", {"tolerance": 1e-5}, False, False),
        ("bound", {"noise": "weights", "bound": True}, True, True),
        ("elbo", {"noise": "estimates", "bound": True}, True, False),
        ("unbiased", {"noise": "estimates"}, True, False),
    ],
)
def test_estimates_of_version_1_are_read_as_version_2(
    estimate: str, expected: dict[str, Any], stochastic: bool, importance_weighted: bool
) -> None:
    stored = {"measure": "continuous", "estimate": estimate, "given": "none", "draws": 4}
    kind = Likelihood.model_validate(likelihood_as_version_2(stored))
    assert kind == Likelihood(measure="continuous", draws=4, **expected)
    assert (kind.stochastic, kind.importance_weighted) == (stochastic, importance_weighted)
    assert kind.exact is (estimate == "exact")


def test_facts_that_hold_a_likelihood_of_version_1_keep_the_rest() -> None:
    stored = {"measure": "discrete", "estimate": "exact", "given": "label", "weights": "ema"}
    mapped = likelihood_as_version_2(stored)
    assert (mapped["given"], mapped["weights"]) == (["label"], "ema")
    assert likelihood_as_version_2(mapped) == mapped
    assert likelihood_as_version_2({"device": "cpu"}) == {"device": "cpu"}


@pytest.mark.parametrize("facts", [{"estimate": False}, {"estimate": []}, {"given": "a seed"}])
def test_facts_of_other_metrics_stay_as_they_are(facts: dict[str, Any]) -> None:
    assert likelihood_as_version_2(facts) == facts


def test_weights_that_are_no_bound_are_refused() -> None:
    with pytest.raises(ValidationError, match="set bound=True"):
        Likelihood(measure="continuous", noise="weights")


@pytest.mark.parametrize(("decay", "average"), [(0.99, {"decay": 0.99}), (None, None)])
def test_a_decay_of_version_1_is_an_average(
    decay: float | None, average: dict[str, float] | None
) -> None:
    stored = {"width": 4, "training": {"lr": 0.1, "ema_decay": decay}}
    expected = {"width": 4, "training": {"lr": 0.1, "average": average}}
    assert training_as_version_2(stored) == expected
    assert training_as_version_2(expected) == expected


class Tempered(ModelConfig):
    low: float = 0.0
    pair: tuple[float, float] = (0.0, 1.0)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize(
    "given",
    [
        lambda v: Training(lr=v),
        lambda v: Training(betas=(0.9, v)),
        lambda v: Training(weight_decay=v),
        lambda v: Scale(high=v),
        lambda v: GaussianNoise(sigma=v),
        lambda v: SampleSettings(temperature=v),
        lambda v: SampleSettings(options={"guidance": v}),
        lambda v: Tempered(low=v),
        lambda v: Tempered(pair=(v, 1.0)),
    ],
)
def test_every_number_of_a_configuration_is_finite(
    given: Callable[[float], Any], value: float
) -> None:
    with pytest.raises(ValidationError, match="finite number"):
        given(value)


@pytest.mark.parametrize("seed", [-1, 2**63, 0.5])
def test_a_seed_is_what_torch_numpy_and_the_database_hold(seed: Any) -> None:
    with pytest.raises(ValidationError, match="seed"):
        MetricSettings(seed=seed)
    assert MetricSettings(seed=2**63 - 1).seed == 2**63 - 1
