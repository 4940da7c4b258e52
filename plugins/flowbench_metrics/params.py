"""Number of trainable parameters."""

from __future__ import annotations

from flowbench.api import DataSplits, MetricSettings, MetricValue, TrainedModel
from flowbench_metrics.specs import PARAMS


def compute(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> list[MetricValue]:
    """Counts the parameters that training can change; buffers and frozen parameters do not count.

    Returns:
        ``params``.
    """
    del data, settings
    num = trained.model.num_parameters()
    return [
        MetricValue(
            name=PARAMS.name,
            value=float(num),
            unit=PARAMS.unit,
            direction=PARAMS.direction,
            protocol={"counted": "trainable parameters"},
        )
    ]
