"""Negative log-likelihood of real-valued data, in nats per example."""

from __future__ import annotations

from flowbench.api import DataSplits, MetricSettings, MetricValue, TrainedModel
from flowbench_metrics.per_example import mean_value, noisy_values
from flowbench_metrics.specs import NLL


def compute(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> list[MetricValue]:
    """Negative log-likelihood on test.

    Args:
        trained: The model; gives the likelihood of every test example.
        data: Not used.
        settings: Not used; the harness has applied them to the likelihood.

    Returns:
        ``nll`` from the best estimate of each example's likelihood, ``nll_elbo`` from the plain
        mean of the same draws where the likelihood is a bound, and ``nll_draw_stderr`` where there
        was more than one draw.
    """
    del data, settings
    result = trained.likelihood("test")
    if result.likelihood.measure == "noisy":
        return noisy_values(NLL, result)
    values = [mean_value(NLL, result, -result.log_prob)]
    if result.likelihood.importance_weighted:
        values.append(mean_value(NLL, result, -result.elbo, name="nll_elbo"))
    if result.draw_stderr is not None:
        values.append(
            MetricValue(
                name="nll_draw_stderr",
                value=result.draw_stderr,
                unit=NLL.unit,
                direction="none",
                split=result.split,
                num_examples=len(result.log_prob),
                protocol=result.likelihood.model_dump(mode="json"),
            )
        )
    return values
