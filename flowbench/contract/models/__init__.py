"""The contract of models: one themed file a group of checks, in the order in which they run."""

from __future__ import annotations

from flowbench.contract.models import (
    accumulation,
    batch_invariance,
    compilation,
    construction,
    determinism,
    finite,
    gradients,
    jacobian,
    likelihood_kind,
    mass,
    precision,
    refit,
    round_trip,
    samples,
    sampling_options,
    shapes,
    side_effects,
    state,
)

CHECKS = (
    *construction.CHECKS,
    *shapes.CHECKS,
    *finite.CHECKS,
    side_effects.INPUTS,
    *likelihood_kind.CHECKS,
    *determinism.CHECKS,
    side_effects.PROCESS,
    *precision.CHECKS,
    *jacobian.CHECKS,
    *round_trip.CHECKS,
    *batch_invariance.CHECKS,
    *gradients.CHECKS,
    *accumulation.CHECKS,
    *refit.CHECKS,
    *state.CHECKS,
    *samples.CHECKS,
    *sampling_options.CHECKS,
    *mass.CHECKS,
    *compilation.CHECKS,
)

__all__ = ["CHECKS"]
