r"""How far a flow moves its noise: the cost of transport between noise and samples.

.. math:: E\, \lVert x_1 - x_0 \rVert^2 / D

in the model's space, of samples :math:`x_1` and the noise :math:`x_0` that each was made of. A
reflow keeps both marginals and cannot raise it.

References:
    Liu, Gong, Liu (2022), Flow Straight and Fast, https://arxiv.org/abs/2209.03003, theorem 3.5.
"""

from __future__ import annotations

from flowbench.api import DataSplits, MetricSettings, MetricValue, TrainedModel
from flowbench_metrics.sample_protocol import sample_protocol
from flowbench_metrics.specs import TRANSPORT_COST

KEY = "transport_cost"  # in the info of sample


def compute(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> list[MetricValue]:
    """Reads what the model's ``sample`` notes in its ``info``.

    Args:
        trained: The model; gives samples with their diagnostics.
        data: Not used.
        settings: How samples were drawn.

    Returns:
        ``transport_cost``, the mean over samples and dims; unavailable where nothing is noted.
    """
    del data
    samples = trained.samples()
    if KEY not in samples.info:
        reason = f"no noise of the data's shape is moved: sample notes no {KEY} in its info"
        return [MetricValue.unavailable(TRANSPORT_COST, reason)]
    return [
        MetricValue(
            name=TRANSPORT_COST.name,
            value=samples.info[KEY],
            unit=TRANSPORT_COST.unit,
            direction=TRANSPORT_COST.direction,
            num_examples=len(samples.x),
            protocol=sample_protocol(trained, settings),
        )
    ]
