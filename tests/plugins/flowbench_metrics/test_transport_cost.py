from __future__ import annotations

import numpy as np

from flowbench.api import DataSplits, MetricSettings, Samples
from flowbench_metrics.transport_cost import KEY, compute
from tests.plugins.flowbench_metrics.fakes import FakeTrained


def drawn(**info: float) -> Samples:
    return Samples(
        x=np.zeros((5, 3)), context={}, num_clipped=0, num_nonfinite=0, temperature=1.0, seed=0,
        info=info,
    )  # fmt: skip


def test_what_the_sampler_noted_is_reported(
    trained: type[FakeTrained], splits: DataSplits, settings: MetricSettings
) -> None:
    (value,) = compute(trained(samples=drawn(**{KEY: 0.25})), splits, settings)
    assert (value.name, value.value, value.num_examples) == ("transport_cost", 0.25, 5)
    (value,) = compute(trained(samples=drawn()), splits, settings)
    assert (value.status, value.value) == ("unavailable", None)
