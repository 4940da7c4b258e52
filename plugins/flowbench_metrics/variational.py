r"""How well a model fits a target, and what it says of the target's normaliser.

Of draws x of the model q the log-weights :math:`w = \log \tilde p(x) - \log q(x)` are formed. Their
mean is the evidence lower bound, below :math:`\log Z` by the divergence of q from the target; the
mean of :math:`e^w` is Z itself, without bias. Both are computed from the density that the harness
evaluates of raw samples, on another way than training took.

References:
    Rezende and Mohamed (2015), Variational Inference with Normalizing Flows,
    https://arxiv.org/abs/1505.05770.
    Kong (1992), A note on importance sampling using standardized weights, for the effective number
    of samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowbench.api import (
    DataSplits,
    MetricSettings,
    MetricSpec,
    MetricValue,
    SampleSettings,
    TrainedModel,
)
from flowbench_metrics.per_example import mean_and_stderr
from flowbench_metrics.specs import (
    EFFECTIVE_SAMPLES,
    ELBO,
    LOG_NORMALISER,
    LOG_NORMALISER_ERROR,
)

NUM_DRAWS = 16_384  # in the plane a second's work


@dataclass(frozen=True)
class Weights:
    """Importance weights.

    Attributes:
        log: Log-weights, shape (N,), in nats.
    """

    log: NDArray[np.float64]

    @property
    def relative(self) -> NDArray[np.float64]:
        """Weights over the largest, shape (N,)."""
        relative: NDArray[np.float64] = np.exp(self.log - self.log.max())
        return relative

    @property
    def effective_share(self) -> float:
        """Part of as many draws of the target that the weighted ones are worth."""
        return float(self.relative.sum() ** 2 / np.square(self.relative).sum() / len(self.log))

    @property
    def log_mean(self) -> float:
        """Logarithm of their mean, in nats: the estimate of the log-normaliser."""
        return float(self.log.max() + np.log(self.relative.mean()))

    @property
    def log_mean_stderr(self) -> float:
        """Standard error of that, to first order."""
        return math.sqrt(max(1.0 / self.effective_share - 1.0, 0.0) / len(self.log))


def elbo(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> list[MetricValue]:
    """The evidence lower bound, in nats; data and settings are not used.

    Returns:
        ``elbo``, and ``elbo_gap``, by which it is below a log-normaliser that is known: the
        divergence of the model from the target.
    """
    del data, settings
    weights = _weights(trained)
    mean, stderr = mean_and_stderr(weights.log)
    value = replace(_value(ELBO, mean, weights), stderr=stderr)
    truth = _truth(trained)
    if truth is None or value.value is None:
        return [value]
    return [value, replace(value, name="elbo_gap", value=truth - mean, direction="lower")]


def log_normaliser(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    """The log-normaliser by importance sampling, in nats; data and settings are not used.

    Returns:
        ``log_normaliser``, and its standard error as ``log_normaliser_stderr``.
    """
    del data, settings
    weights = _weights(trained)
    value = _value(LOG_NORMALISER, weights.log_mean, weights)
    if value.value is None:
        return [value]
    value = replace(value, stderr=weights.log_mean_stderr)
    return [
        value,
        replace(value, name="log_normaliser_stderr", value=weights.log_mean_stderr, stderr=None),
    ]


def log_normaliser_error(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    """How far that estimate is from the truth; data and settings are not used.

    Returns:
        One value; unavailable where the truth is not known.
    """
    del data, settings
    truth = _truth(trained)
    if truth is None:
        reason = f"the log-normaliser of {trained.data.name} is not known"
        return [MetricValue.unavailable(LOG_NORMALISER_ERROR, reason)]
    weights = _weights(trained)
    value = _value(LOG_NORMALISER_ERROR, abs(weights.log_mean - truth), weights)
    return [value if value.value is None else replace(value, stderr=weights.log_mean_stderr)]


def effective_samples(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    """How many draws of the target a draw of the model is worth; data and settings are not used.

    Returns:
        One value, 1 for a model that is the target.
    """
    del data, settings
    weights = _weights(trained)
    return [_value(EFFECTIVE_SAMPLES, weights.effective_share, weights)]


def _weights(trained: TrainedModel) -> Weights:
    # At temperature 1, whatever samples of the protocol are: weights are of the density's own
    # draws.
    x = trained.samples(NUM_DRAWS, SampleSettings()).x
    trained.tick("holding samples against the target")
    return Weights(trained.log_density(x) - trained.log_prob(x))


def _truth(trained: TrainedModel) -> float | None:
    return None if trained.data.target is None else trained.data.target.log_normaliser


def _value(spec: MetricSpec, value: float, weights: Weights) -> MetricValue:
    given: dict[str, Any] = {
        "name": spec.name,
        "unit": spec.unit,
        "direction": spec.direction,
        "num_examples": len(weights.log),
    }
    # A draw off the target has a weight of 0, which is a fact of the model; no number is a fault.
    num_bad = int(np.isnan(weights.log).sum() + np.isposinf(weights.log).sum())
    if num_bad:
        reason = f"{num_bad} of {len(weights.log)} samples have no weight"
        return MetricValue(value=None, status="failed", reason=reason, **given)
    return MetricValue(value=value, **given)
