"""The mean nll of the worst tenth of test examples: how badly a model fails where it fails.

References:
    Rockafellar and Uryasev (2000), Optimization of conditional value-at-risk, Journal of Risk 2(3).
"""

from __future__ import annotations

import numpy as np
from flowbench.api import DataSplits, MetricSettings, MetricValue, TrainedModel

from flowbench_peers.plugin import NLL_TAIL

SHARE = 0.1


def compute(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> list[MetricValue]:
    """Measures the tail of the likelihood on test.

    Args:
        trained: The model; gives the likelihood of every test example.
        data: Not used.
        settings: Not used; the harness has applied them to the likelihood.

    Returns:
        One value, with its standard error over the examples of the tail.
    """
    del data, settings
    result = trained.likelihood("test")
    if not np.isfinite(result.log_prob).all():
        reason = "an example has no finite likelihood; see flowbench results logs"
        return [MetricValue.unavailable(NLL_TAIL, reason)]
    worst = np.sort(-result.log_prob)[-max(1, round(SHARE * len(result.log_prob))) :]
    stderr = float(worst.std(ddof=1) / np.sqrt(len(worst))) if len(worst) > 1 else None
    return [
        MetricValue(
            name=NLL_TAIL.name,
            value=float(worst.mean()),
            unit=NLL_TAIL.unit,
            direction=NLL_TAIL.direction,
            split=result.split,
            num_examples=len(worst),
            stderr=stderr,
            protocol=result.likelihood.model_dump(mode="json") | {"share": SHARE},
        )
    ]
