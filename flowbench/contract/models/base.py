"""The base distribution of a flow is one: its draws have the density that it states."""

from __future__ import annotations

import math

import torch

from flowbench.api.models import standard_normal_log_prob
from flowbench.contract.checking.checks import Finding, check, passed, skipped, within
from flowbench.contract.models.subject import ModelSubject, generator
from flowbench.contract.models.tolerances import SAME, STANDARD_ERRORS, relative_error

NUM = 4000
WIDER = 1.1  # than the draws, so that the weights are bounded
ROUNDING = 1e-3
VAGUE = 0.05  # a standard error from which on the sum says little


@check(
    "base_log_prob(): its constant goes with the number of dims of all latents together; it is "
    "that of what sample_base() draws",
    needs=("precision",),
)
@torch.no_grad()
def base(subject: ModelSubject) -> Finding:
    """The base density integrates to 1, whatever the number of dims."""
    model = subject.perturbed_flow(torch.float64)
    cpu = torch.device("cpu")
    drawn = model.sample_base(NUM, temperature=1.0, generator=generator(0), device=cpu)
    flat = torch.cat([z.flatten(1) for z in drawn], dim=1).double()
    if relative_error(model.base_log_prob(drawn), standard_normal_log_prob(drawn)) < SAME:
        return passed(f"standard normal, {flat.shape[1]} dims")
    # Importance sampling from a normal distribution that is fitted to the draws.
    mean, std = flat.mean(dim=0), WIDER * flat.std(dim=0)
    noise = torch.randn(flat.shape, generator=generator(1), dtype=flat.dtype)
    points = (mean + std * noise).split([z[0].numel() for z in drawn], dim=1)
    latents = tuple(p.view_as(z) for p, z in zip(points, drawn, strict=True))
    of_normal = standard_normal_log_prob((noise,)) - std.log().sum()
    weights = (model.base_log_prob(latents) - of_normal).exp()
    total, error = float(weights.mean()), float(weights.std()) / math.sqrt(NUM)
    if error > VAGUE * total:
        return skipped(f"too unlike a normal distribution in {flat.shape[1]} dims to be summed up")
    words = f"off 1, the mass being {total:.3f} in {flat.shape[1]} dims"
    return within(abs(total - 1), ROUNDING + STANDARD_ERRORS * error, words)
