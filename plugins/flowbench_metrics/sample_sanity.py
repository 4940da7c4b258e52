"""Sample sanity: values out of range, duplicates, and samples that sit on training examples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowbench.api import (
    DataSplits,
    MetricSettings,
    MetricValue,
    Samples,
    TrainedModel,
)
from flowbench_metrics.nearest import nearest_distances, spread_out
from flowbench_metrics.per_example import mean_and_stderr
from flowbench_metrics.sample_protocol import sample_protocol
from flowbench_metrics.specs import SAMPLE_SANITY


def compute(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> list[MetricValue]:
    """Checks the protocol's samples on the raw scale.

    Args:
        trained: The model; gives its samples.
        data: Gives training and test examples.
        settings: How samples were drawn.

    Returns:
        ``sample_sanity``, the share of sampled values that were clipped to the levels or not
        finite; ``sample_sanity_nonfinite``, the share of the latter alone;
        ``sample_sanity_duplicates``, the share of samples that repeat an earlier one;
        ``sample_sanity_nearest``, the mean Euclidean distance of samples to their nearest training
        example over that of as many test examples: near 1 for good samples, far below 1 for
        memorised ones.
    """
    samples = trained.samples()
    num_values = max(1, samples.x.size)
    protocol = sample_protocol(trained, settings)
    bad = (samples.num_clipped + samples.num_nonfinite) / num_values
    return [
        _share(SAMPLE_SANITY.name, bad, samples, protocol),
        _share("sample_sanity_nonfinite", samples.num_nonfinite / num_values, samples, protocol),
        _share("sample_sanity_duplicates", duplicate_share(samples.x), samples, protocol),
        _nearest(samples, data, protocol),
    ]


def duplicate_share(x: NDArray[Any]) -> float:
    """Share of examples that are equal, value by value, to an earlier one.

    Args:
        x: Examples, shape (N, *event_shape).

    Returns:
        A share in [0, 1).
    """
    rows = np.ascontiguousarray(x.reshape(len(x), -1))
    whole_rows = rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize)))
    return 1.0 - len(np.unique(whole_rows)) / len(x)


def _share(name: str, value: float, samples: Samples, protocol: dict[str, Any]) -> MetricValue:
    return MetricValue(
        name=name,
        value=value,
        unit=SAMPLE_SANITY.unit,
        direction=SAMPLE_SANITY.direction,
        num_examples=len(samples.x),
        protocol=protocol,
    )


def _nearest(samples: Samples, data: DataSplits, protocol: dict[str, Any]) -> MetricValue:
    name = "sample_sanity_nearest"
    finite = samples.x[np.isfinite(samples.x).reshape(len(samples.x), -1).all(axis=1)]
    if not len(finite):
        return MetricValue.unavailable(SAMPLE_SANITY, "no sample is finite", name=name)
    train = spread_out(data.train.x)
    test = data.test.x[: len(samples.x)]
    of_samples, samples_stderr = mean_and_stderr(nearest_distances(finite, train))
    of_test, test_stderr = mean_and_stderr(nearest_distances(test, train))
    if of_test == 0.0:
        reason = (
            "every test example equals a training example, so there is no scale to compare with"
        )
        return MetricValue.unavailable(SAMPLE_SANITY, reason, name=name)
    # Delta method for the ratio of two independent means.
    variance = (samples_stderr or 0.0) ** 2 + (of_samples / of_test * (test_stderr or 0.0)) ** 2
    return MetricValue(
        name=name,
        value=of_samples / of_test,
        unit="",
        direction="none",
        split="test",
        num_examples=len(finite),
        stderr=math.sqrt(variance) / of_test,
        protocol=protocol | {"num_train": len(train), "num_test": len(test)},
    )
