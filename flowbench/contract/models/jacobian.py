"""The log-determinant, held against automatic differentiation."""

from __future__ import annotations

import statistics

import torch

from flowbench.api.models import InvertibleModel, standard_normal_log_prob
from flowbench.contract.checks import Check, Finding, failed, skipped, within
from flowbench.contract.models.autograd_jacobian import log_abs_det
from flowbench.contract.models.joint_map import JointMap
from flowbench.contract.models.subject import Inputs, ModelSubject, generator, log_prob
from flowbench.contract.models.tolerances import LADJ_NATS, SOLVER, STANDARD_ERRORS, same

NUM_EXAMPLES = 2
MAX_DIMS = 512  # a Jacobian of that size is differentiated in seconds
NUM_DRAWS = 64  # of an unbiased estimate


def check_jacobian(subject: ModelSubject) -> Finding:
    """Holds ladj against log |det| of the joint map, at perturbed weights in float64."""
    if not subject.is_invertible:
        return skipped("the model has no latents")
    model = subject.perturbed_flow(torch.float64)
    inputs = subject.inputs(NUM_EXAMPLES, torch.float64)
    maps = [JointMap.at(model, inputs.rows(slice(i, i + 1))) for i in range(NUM_EXAMPLES)]
    not_square = _not_square(subject, maps[0])
    if not_square is not None:
        return not_square
    if subject.kind is not None and subject.kind.noise == "estimates" and not subject.kind.bound:
        return _check_estimates(maps)
    errors = [(abs(m.ladj() - (true := log_abs_det(m, m.point))), abs(true)) for m in maps]
    error, size = max(errors)
    tolerance = max(LADJ_NATS, same(subject.kind, 1e-8) * size)
    if subject.kind is not None and subject.kind.tolerance is not None:
        tolerance = max(tolerance, SOLVER)
    words = f"nats between ladj ({size:.3g} in size) and autograd's, {len(maps[0].point)} dims"
    return within(error, tolerance, words)


def _not_square(subject: ModelSubject, joint: JointMap) -> Finding | None:
    num_dims = len(joint.point)
    if num_dims > MAX_DIMS:
        return skipped(f"{num_dims} dims; at most {MAX_DIMS} are differentiated")
    if num_dims == joint.num_latent_dims:
        return None
    words = f"{num_dims} dims of x and noise go to {joint.num_latent_dims} dims of latents"
    if subject.kind is not None and subject.kind.exact and not subject.is_discrete:
        return failed(f"{words}: not a bijection, so the likelihood cannot be 'exact'")
    return skipped(f"{words}: not a bijection, so there is no determinant")


def _check_estimates(maps: list[JointMap]) -> Finding:
    """Hutchinson's estimates average to the determinant, within their own error bars."""
    worst, allowed = 0.0, SOLVER
    for joint in maps:
        with torch.no_grad():
            latents, _ = joint.model.to_latent(joint.inputs.x, joint.inputs.context, aux=joint.aux)
            exact = float(joint.model.base_log_prob(latents)) + log_abs_det(joint, joint.point)
        draws = _draws(joint.model, joint.inputs)
        error = abs(statistics.fmean(draws) - exact)
        tolerance = SOLVER + STANDARD_ERRORS * statistics.stdev(draws) / len(draws) ** 0.5
        if error - tolerance > worst - allowed:
            worst, allowed = error, tolerance
    words = f"nats between the mean of {NUM_DRAWS} estimates of log_prob and the Jacobian's"
    return within(worst, allowed, words)


@torch.no_grad()
def _draws(model: InvertibleModel, inputs: Inputs) -> list[float]:
    return [float(log_prob(model, inputs, generator(seed))) for seed in range(NUM_DRAWS)]


@torch.no_grad()
def check_composition(subject: ModelSubject) -> Finding:
    """log_prob is base density + ladj - density of the augmentation noise."""
    if not subject.is_invertible:
        return skipped("the model has no latents")
    kind = subject.kind
    if kind is not None and kind.noise == "estimates":
        return skipped("a draw is an estimate; mass and samples are checked instead")
    model = subject.perturbed_flow(torch.float64)
    inputs = subject.inputs(8, torch.float64)
    aux = model.sample_aux(inputs.x, generator=generator(0))
    latents, ladj = model.to_latent(inputs.x, inputs.context, aux=aux)
    expected = model.base_log_prob(latents) + ladj
    if aux is not None:
        expected = expected - standard_normal_log_prob(aux)
    values = log_prob(model, inputs, generator(0))
    error = float(((values - expected).abs() / expected.abs().clamp_min(1.0)).max())
    return within(error, same(kind), "relative difference of log_prob and its parts")


CHECKS = (
    Check(
        name="jacobian",
        asks="ladj = log |det dz/dx| by autograd (float64, weights perturbed; jointly in x and "
        "the augmentation noise)",
        look_at="the sign of ladj (data -> latent), layers that return none (logit, sigmoid, "
        "squeeze, split priors), mean where a sum over event dims belongs, spatial positions H*W",
        run=check_jacobian,
        needs=("precision",),
    ),
    Check(
        name="log_prob",
        asks="log_prob = base_log_prob(latents) + ladj - log density of the augmentation noise",
        look_at="an own log_prob: a prior that is counted twice or left out, the entropy of the "
        "augmentation noise",
        run=check_composition,
        needs=("precision", "likelihood_kind"),
        cases=frozenset({"main", "variant", "mass"}),
    ),
)
