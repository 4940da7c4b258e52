"""The contract of models: themed groups of checks, in the order in which they run."""

from __future__ import annotations

from flowbench.contract.models.base import base
from flowbench.contract.models.batch_invariance import batch_size, neighbours, order
from flowbench.contract.models.compilation import full_graph
from flowbench.contract.models.construction import construction, presets
from flowbench.contract.models.determinism import determinism
from flowbench.contract.models.finite import finite, training
from flowbench.contract.models.fresh_points import fresh_points
from flowbench.contract.models.gradients import accumulation, gradients
from flowbench.contract.models.interface import interface
from flowbench.contract.models.interruption import interruption
from flowbench.contract.models.jacobian import jacobian, log_prob
from flowbench.contract.models.likelihood_kind import likelihood_kind
from flowbench.contract.models.mass import mass, sampling
from flowbench.contract.models.precision import float64_map, precision
from flowbench.contract.models.refit import refit
from flowbench.contract.models.round_trip import round_trip
from flowbench.contract.models.samples import samples, sampling_options, temperature
from flowbench.contract.models.shapes import shapes
from flowbench.contract.models.side_effects import inputs, process_state
from flowbench.contract.models.state import state

CHECKS = (
    presets,
    interface,
    construction,
    shapes,
    finite,
    training,
    inputs,
    likelihood_kind,
    determinism,
    process_state,
    precision,
    float64_map,
    neighbours,
    order,
    base,
    jacobian,
    log_prob,
    round_trip,
    batch_size,
    fresh_points,
    gradients,
    accumulation,
    refit,
    state,
    interruption,
    samples,
    temperature,
    sampling_options,
    mass,
    sampling,
    full_graph,
)

__all__ = ["CHECKS"]
