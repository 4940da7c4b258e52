"""From the likelihood of every example to a mean with its standard error."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowbench.api import LikelihoodResult, MetricSpec, MetricValue

OF_NOISY_DATA = (
    "trained with gaussian_noise: its density is that of noisy data, see nll_noisy; "
    "train with uniform_dequantization, or without noise on real-valued data"
)


def mean_and_stderr(values: NDArray[np.float64]) -> tuple[float, float | None]:
    """Mean over examples, and the standard error of it.

    Args:
        values: One value for each example, shape (N,).

    Returns:
        The mean, and the sample standard deviation over the root of N; None for one example.
    """
    if len(values) < 2:
        return float(values.mean()), None
    return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))


def mean_value(
    spec: MetricSpec,
    result: LikelihoodResult,
    values: NDArray[np.float64],
    *,
    name: str | None = None,
    unit: str | None = None,
) -> MetricValue:
    """The mean of a likelihood over its split, as a measured value.

    Args:
        spec: The metric.
        result: Where the values come from; gives split and protocol.
        values: One value for each example, shape (N,).
        name: Name of the value, if not the metric's own.
        unit: Unit of the value, if not the metric's own.

    Returns:
        The mean with its standard error; status ``failed`` if an example has no finite value.
    """
    given: dict[str, Any] = {
        "name": name or spec.name,
        "unit": unit or spec.unit,
        "direction": spec.direction,
        "split": result.split,
        "num_examples": len(values),
        "protocol": result.likelihood.model_dump(mode="json"),
    }
    num_bad = int((~np.isfinite(values)).sum())
    if num_bad:
        reason = f"{num_bad} of {len(values)} {result.split} examples have no finite likelihood"
        return MetricValue(value=None, status="failed", reason=reason, **given)
    value, stderr = mean_and_stderr(values)
    return MetricValue(value=value, stderr=stderr, **given)


def noisy_values(spec: MetricSpec, result: LikelihoodResult) -> list[MetricValue]:
    """What a model of noisy data has in place of a likelihood of the data.

    Args:
        spec: The metric that cannot be had.
        result: The likelihood of noisy data.

    Returns:
        The metric as unavailable, and in nats per example ``nll_noisy``, after the metric's name
        where that is another.
    """
    name = "nll_noisy" if spec.name == "nll" else f"{spec.name}_nll_noisy"
    return [
        MetricValue.unavailable(spec, OF_NOISY_DATA),
        mean_value(spec, result, -result.log_prob, name=name, unit="nats"),
    ]
