"""Mass of a 2-D density: its integral over the whole plane, which must be 1.

A model whose log-determinant is wrong reports densities that integrate to something else, and a
likelihood that cannot be believed.
"""

from __future__ import annotations

import math

import numpy as np

from flowbench.api import (
    DataSplits,
    MetricSettings,
    MetricValue,
    NotInvertibleError,
    SampleSettings,
    TrainedModel,
    density_mass,
)
from flowbench_metrics.specs import DENSITY_MASS

NUM_POINTS = 4096  # of the training data and of the model's samples, each


def compute(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> list[MetricValue]:
    """Integrates the density by stratified importance sampling; see `density_mass`.

    Args:
        trained: The model; gives densities, and samples that show where they are high.
        data: Training data, where they should be.
        settings: Gives the seed.

    Returns:
        ``density_mass`` with its standard error; unavailable for a likelihood that is a bound or an
        estimate, or one of noisy data.
    """
    kind = trained.likelihood("test").likelihood
    if kind.stochastic or kind.bound or kind.measure != "continuous":
        reason = "the likelihood is a bound, an estimate or of noisy data: there is no density"
        return [MetricValue.unavailable(DENSITY_MASS, reason)]
    if kind.given:
        reason = f"given {', '.join(kind.given)} the density has a mass for each value of it"
        return [MetricValue.unavailable(DENSITY_MASS, reason)]
    parts = [data.train.x[:: math.ceil(len(data.train) / NUM_POINTS)]]
    try:
        parts.append(trained.samples(NUM_POINTS, SampleSettings()).x)
    except NotInvertibleError:  # the data alone show less of it: the error may be larger
        pass
    points = np.concatenate([part.reshape(-1, 2).astype(np.float64) for part in parts])
    points = points[np.isfinite(points).all(axis=1)]
    mass = density_mass(trained.log_prob, points, np.random.default_rng(settings.seed))
    return [
        MetricValue(
            name=DENSITY_MASS.name,
            value=mass.value,
            unit=DENSITY_MASS.unit,
            direction=DENSITY_MASS.direction,
            num_examples=mass.num_points,
            stderr=mass.stderr,
            protocol={"over": "the plane", "weights": trained.weights},
        )
    ]
