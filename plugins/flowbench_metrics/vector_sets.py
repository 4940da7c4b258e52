"""Two sets of vectors to be compared: finite, of like size, and picked whatever their order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowbench.api import DataSplits, MetricSettings, MetricSpec, MetricValue, TrainedModel
from flowbench_metrics.sample_protocol import sample_protocol

Rows = NDArray[np.float64]


def samples_and_test(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings, most: int
) -> tuple[Rows, Rows] | str:
    """The protocol's samples and as many test examples.

    Args:
        trained: The model; gives its samples.
        data: Gives the test examples.
        settings: Gives the seed of the choice.
        most: Take no more than this of either; what a method's time allows.

    Returns:
        Samples and test examples, each of shape (N, D), N the smaller number of both; or why they
        cannot be compared.
    """
    samples = flat(trained.samples().x)
    num_bad = int((~np.isfinite(samples)).any(axis=1).sum())
    if num_bad:
        return f"{num_bad} of {len(samples)} samples are not finite"
    test = flat(data.test.x)
    num = min(len(samples), len(test), most)
    if num < 2:
        return f"{num} pair of sample and test example; it takes two or more"
    rng = np.random.default_rng(settings.seed)
    return pick(samples, num, rng), pick(test, num, rng)


def flat(x: NDArray[Any]) -> Rows:
    """Examples as rows of float64.

    Args:
        x: Examples, shape (N, *event_shape).

    Returns:
        Rows, shape (N, D).
    """
    return x.reshape(len(x), -1).astype(np.float64)


def pick(rows: Rows, num: int, rng: np.random.Generator) -> Rows:
    """Some rows at random, in random order; the order that they come in plays no part.

    Args:
        rows: Rows, shape (N, D).
        num: How many to take.
        rng: Source of the choice.

    Returns:
        Rows, shape (num, D).
    """
    in_order = rows[np.lexsort(rows.T)]
    picked: Rows = in_order[rng.permutation(len(rows))[:num]]
    return picked


def set_protocol(
    trained: TrainedModel, settings: MetricSettings, num: int, **more: Any
) -> dict[str, Any]:
    """What two values must share to be compared.

    Args:
        trained: The model.
        settings: How samples were drawn.
        num: Number of vectors in each set.
        **more: What the metric adds.

    Returns:
        The protocol.
    """
    return sample_protocol(trained, settings) | {"num_each": num, **more}


def failed(spec: MetricSpec, reason: str) -> MetricValue:
    """The value of a metric whose samples cannot be compared.

    Returns:
        The value, of status ``failed``.
    """
    return MetricValue(
        name=spec.name,
        value=None,
        unit=spec.unit,
        direction=spec.direction,
        status="failed",
        reason=reason,
    )
