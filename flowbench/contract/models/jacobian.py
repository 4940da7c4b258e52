"""The log-determinant, held against automatic differentiation."""

from __future__ import annotations

import math

import torch

from flowbench.api.models import standard_normal_log_prob
from flowbench.contract.checking.checks import Finding, check, failed, skipped, within
from flowbench.contract.models.joint_map import JointMap
from flowbench.contract.models.subject import ModelSubject, generator, log_probs
from flowbench.contract.models.tolerances import LADJ_NATS, STANDARD_ERRORS, relative_error, same

ROWS, NUM_EXAMPLES = 128, (2, 16)  # of few dims more examples are looked at, in as many rows
OUTLYING = 4.0  # times the data: where a spline has tails, and a clamp holds
MAX_DIMS = 512  # a Jacobian of that size is differentiated in seconds
NUM_DRAWS = 64  # of an unbiased estimate


@check(
    "the sign of ladj (data -> latent), layers that return none (logit, sigmoid, squeeze, split "
    "priors), mean where a sum over event dims belongs, spatial positions H*W",
    needs=("order",),
)
@torch.no_grad()
def jacobian(subject: ModelSubject) -> Finding:
    """The ladj is log |det dz/dx| by autograd, in x and the augmentation noise (float64)."""
    model = subject.perturbed_flow(torch.float64)
    fewest, most = NUM_EXAMPLES
    num = max(fewest, min(most, ROWS // subject.info.num_dims))
    inputs = subject.inputs(num, torch.float64)
    if not subject.is_discrete:
        inputs.x[::2] *= OUTLYING
    joint = JointMap.at(model, inputs)
    not_square = _not_square(subject, joint)
    if not_square is not None:
        return not_square
    kind = subject.kind
    # The bound of uniform dequantization is of the integers; at the values drawn it is none.
    if subject.is_estimated and kind and (not kind.bound or kind.dequantization == "uniform"):
        return _averages(subject, joint)
    true = joint.log_abs_det()
    errors, sizes = (joint.latents()[1] - true).abs(), true.abs()
    worst = int(errors.nan_to_num(nan=math.inf).argmax())
    size = float(sizes[worst])
    # Absolute and relative: the rounding of a sum grows with the sum.
    tolerance = max(same(kind, LADJ_NATS), same(kind, 1e-8) * size)
    num_dims = joint.points.shape[1]
    words = f"nats between ladj ({size:.3g} in size) and autograd's, {num_dims} dims"
    return within(float(errors[worst]), tolerance, words)


def _not_square(subject: ModelSubject, joint: JointMap) -> Finding | None:
    num_dims = joint.points.shape[1]
    if num_dims > MAX_DIMS:
        return skipped(f"{num_dims} dims; at most {MAX_DIMS} are differentiated")
    if num_dims == joint.num_latent_dims:
        return None
    words = f"{num_dims} dims of x and noise go to {joint.num_latent_dims} dims of latents"
    if subject.kind is not None and subject.kind.exact and not subject.is_discrete:
        return failed(f"{words}: not a bijection, so the likelihood cannot be 'exact'")
    return skipped(f"{words}: not a bijection, so there is no determinant")


def _averages(subject: ModelSubject, joint: JointMap) -> Finding:
    """Hutchinson's estimates average to the determinant, within their own error bars."""
    exact = joint.model.base_log_prob(joint.latents()[0]) + joint.log_abs_det()
    # All draws in one pass: of a solver, passes cost more than rows do.
    copies = joint.inputs.rows(torch.arange(len(exact)).repeat_interleave(NUM_DRAWS))
    draws = log_probs(joint.model, copies).view(-1, NUM_DRAWS)
    errors = (draws.mean(dim=1) - exact).abs()
    allowed = same(subject.kind, LADJ_NATS) + STANDARD_ERRORS * draws.std(dim=1) / NUM_DRAWS**0.5
    # The one that exceeds its own error bar most, not the largest error.
    worst = int((errors - allowed).nan_to_num(nan=math.inf).argmax())
    words = f"nats between the mean of {NUM_DRAWS} estimates of log_prob and the Jacobian's"
    return within(float(errors[worst]), float(allowed[worst]), words)


@check(
    "an own log_prob: a prior that is counted twice or left out, the entropy of the augmentation "
    "noise",
    needs=("precision", "likelihood_kind"),
    cases="main variant mass",
)
@torch.no_grad()
def log_prob(subject: ModelSubject) -> Finding:
    """log_prob = base_log_prob(latents) + ladj - log density of the augmentation noise."""
    model = subject.perturbed_flow(torch.float64)
    if subject.is_estimated:
        return skipped("a draw is an estimate; mass and samples are checked instead")
    inputs = subject.inputs(8, torch.float64)
    aux = model.sample_aux(inputs.x, generator=generator(0))
    latents, ladj = model.to_latent(inputs.x, inputs.context, aux=aux)
    expected = model.base_log_prob(latents) + ladj
    if aux is not None:
        expected = expected - standard_normal_log_prob(aux)
    error = relative_error(log_probs(model, inputs), expected)
    return within(error, same(subject.kind), "relative difference of log_prob and its parts")
