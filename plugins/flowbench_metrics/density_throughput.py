"""Density throughput: likelihoods a second at the batch size that gives the most."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from flowbench.api import (
    DataSplits,
    DensityModel,
    Likelihood,
    MetricSettings,
    MetricValue,
    TrainedModel,
)
from flowbench_metrics.sampling_throughput import throughput, timed
from flowbench_metrics.specs import DENSITY_THROUGHPUT
from flowbench_metrics.timing import DrawTimer, timing_protocol


def compute(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> list[MetricValue]:
    """Throughput of likelihoods of raw test examples, at the best batch size.

    Args:
        trained: The model.
        data: Gives the examples; they are repeated where a batch is larger than the split.
        settings: Gives the seed.

    Returns:
        ``density_throughput``, of one draw of whatever noise there is, and the batch size as
        ``density_throughput_batch``.
    """
    best, times, stopped_by = timed(_DensityTimer(trained, data, settings))
    value = throughput(DENSITY_THROUGHPUT, best.batch_size, times)
    protocol = timing_protocol(trained, settings)
    batch = MetricValue(
        name="density_throughput_batch",
        value=float(best.batch_size),
        unit="examples",
        direction="none",
        protocol=protocol | {"search_stopped_by": stopped_by},
    )
    return [replace(value, protocol=protocol), batch]


class _DensityTimer(DrawTimer):
    """Times likelihoods in place of draws."""

    def __init__(self, trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> None:
        super().__init__(trained, settings)
        self._data, self._settings = data, settings

    @torch.no_grad()
    def work(self, batch_size: int, seed: int) -> None:
        """The likelihood of a batch, its preprocessing included."""
        trained, test = self._trained, self._data.test
        model = trained.model
        rows = np.arange(batch_size) % len(test)
        x = trained.preprocess(test.x[rows], seed=seed)
        kind = trained.config.likelihood(trained.data)
        given = kind.given if isinstance(kind, Likelihood) else ()
        context = {k: torch.tensor(test.context[k][rows], device=x.device) for k in given}
        if isinstance(model, DensityModel):
            generator = torch.Generator(x.device).manual_seed(seed)
            model.log_prob(x, context or None, generator=generator)
