"""Log-likelihood of real-valued data, as papers on tables print it."""

from __future__ import annotations

from flowbench.api import DataSplits, MetricSettings, MetricValue, TrainedModel
from flowbench_metrics.per_example import OF_NOISY_DATA, mean_value
from flowbench_metrics.specs import LOG_LIKELIHOOD


def compute(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> list[MetricValue]:
    """Mean log-likelihood on test: the negative of ``nll``.

    Args:
        trained: The model; gives the likelihood of every test example.
        data: Not used.
        settings: Not used; the harness has applied them to the likelihood.

    Returns:
        One value.
    """
    del data, settings
    result = trained.likelihood("test")
    if result.likelihood.measure == "noisy":
        return [MetricValue.unavailable(LOG_LIKELIHOOD, OF_NOISY_DATA)]
    return [mean_value(LOG_LIKELIHOOD, result, result.log_prob)]
