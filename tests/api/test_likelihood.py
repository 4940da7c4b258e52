from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from flowbench.api import Likelihood
from flowbench.api.likelihood import likelihood_as_version_2


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
