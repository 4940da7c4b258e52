"""How often a solver evaluates its vector field for one likelihood."""

from __future__ import annotations

from flowbench.api import DataSplits, MetricSettings, MetricValue, TrainedModel
from flowbench_metrics.specs import NUM_FUNCTION_EVALUATIONS

KEY = "num_function_evaluations"  # in the info of log_prob


def compute(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> list[MetricValue]:
    """Reads what the model's ``log_prob`` notes in its ``info``.

    Args:
        trained: The model; gives the test likelihoods with their diagnostics.
        data: Not used.
        settings: Not used.

    Returns:
        ``num_function_evaluations``, the mean over the rows of all test passes; unavailable where
        no solver runs.
    """
    del data, settings
    spec = NUM_FUNCTION_EVALUATIONS
    result = trained.likelihood("test")
    if KEY not in result.info:
        reason = f"no solver runs: log_prob notes no {KEY} in its info"
        return [MetricValue.unavailable(spec, reason)]
    return [
        MetricValue(
            name=spec.name,
            value=result.info[KEY],
            unit=spec.unit,
            direction=spec.direction,
            split=result.split,
            num_examples=len(result.log_prob),
            protocol=result.likelihood.model_dump(mode="json"),
        )
    ]
