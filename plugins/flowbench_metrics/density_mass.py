"""Mass of a 2-D density: its integral over the whole plane, which must be 1.

A model whose log-determinant is wrong reports densities that integrate to something else, and a
likelihood that cannot be believed.
"""

from __future__ import annotations

import math

import numpy as np

from flowbench.api import (
    DataSplits,
    Mass,
    MetricSettings,
    MetricSpec,
    MetricValue,
    NotInvertibleError,
    SampleSettings,
    TrainedModel,
    density_mass,
)
from flowbench.api.manifolds import manifold_of, mass_on
from flowbench_metrics.sample_protocol import sample_protocol
from flowbench_metrics.specs import DENSITY_MASS, MANIFOLD_MASS, OFF_MANIFOLD

NUM_UNIFORM = 20_000  # points of a manifold
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
    reason = _no_density(trained)
    if reason is not None:
        return [MetricValue.unavailable(DENSITY_MASS, reason)]
    parts = [data.train.x[:: math.ceil(len(data.train) / NUM_POINTS)]]
    try:
        parts.append(trained.samples(NUM_POINTS, SampleSettings()).x)
    except NotInvertibleError:  # the data alone show less of it: the error may be larger
        pass
    points = np.concatenate([part.reshape(-1, 2).astype(np.float64) for part in parts])
    points = points[np.isfinite(points).all(axis=1)]
    mass = density_mass(trained.log_prob, points, np.random.default_rng(settings.seed))
    return [_value(DENSITY_MASS, mass, "the plane", trained)]


def compute_on_manifold(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    """Integrates the density over the data's manifold, at uniform points; see `mass_on`.

    Args:
        trained: The model; gives densities.
        data: Not used.
        settings: Gives the seed.

    Returns:
        ``manifold_mass`` with its standard error; unavailable where there is no density.
    """
    del data
    reason = _no_density(trained)
    if reason is not None or trained.data.manifold is None:
        return [MetricValue.unavailable(MANIFOLD_MASS, reason or "the data name no manifold")]
    manifold, rng = manifold_of(trained.data.manifold), np.random.default_rng(settings.seed)
    mass = mass_on(manifold, trained.log_prob, rng, NUM_UNIFORM)
    return [_value(MANIFOLD_MASS, mass, f"the {manifold.name}", trained)]


def compute_off_manifold(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    """Counts samples that do not lie on the data's manifold.

    Args:
        trained: The model; gives its samples.
        data: Not used.
        settings: How samples were drawn.

    Returns:
        ``off_manifold``, their share.
    """
    del data
    if trained.data.manifold is None:
        return [MetricValue.unavailable(OFF_MANIFOLD, "the data name no manifold")]
    x = trained.samples().x
    off = ~manifold_of(trained.data.manifold).contains(x)
    return [
        MetricValue(
            name=OFF_MANIFOLD.name,
            value=float(off.mean()),
            unit=OFF_MANIFOLD.unit,
            direction=OFF_MANIFOLD.direction,
            num_examples=len(x),
            protocol=sample_protocol(trained, settings),
        )
    ]


def _no_density(trained: TrainedModel) -> str | None:
    """Why there is nothing to be integrated; None if there is."""
    kind = trained.likelihood("test").likelihood
    if kind.stochastic or kind.bound or kind.measure != "continuous":
        return "the likelihood is a bound, an estimate or of noisy data: there is no density"
    if kind.given:
        return f"given {', '.join(kind.given)} the density has a mass for each value of it"
    return None


def _value(spec: MetricSpec, mass: Mass, over: str, trained: TrainedModel) -> MetricValue:
    return MetricValue(
        name=spec.name,
        value=mass.value,
        unit=spec.unit,
        direction=spec.direction,
        num_examples=mass.num_points,
        stderr=mass.stderr,
        protocol={"over": over, "weights": trained.weights},
    )
