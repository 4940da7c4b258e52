"""What two measurements of samples must share to be compared."""

from __future__ import annotations

from typing import Any

from flowbench.api import MetricSettings, TrainedModel


def sample_protocol(trained: TrainedModel, settings: MetricSettings) -> dict[str, Any]:
    """How the samples came about.

    Args:
        trained: The model, for the weights that were chosen.
        settings: How samples are drawn.

    Returns:
        Temperature and the model's own options, and whether raw or averaged weights drew them.
    """
    return {"sample": settings.sample.model_dump(), "weights": trained.weights}
