"""A density is no memory of what it was trained on."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from flowbench.api.models import DensityModel
from flowbench.contract.checking.checks import Finding, check, within
from flowbench.contract.models.subject import Inputs, ModelSubject, generator, log_probs
from flowbench.contract.models.tolerances import STANDARD_ERRORS

NUM = 128
# Times the spread of the data: how far the points beside lie. So near that a density which training
# sharpened around its examples, as it may, is still flat.
STEPS = (1e-3, 1e-2)
ROUNDING = 0.02  # in nats
USUAL = 0.25  # of the drop at fresh points, which training may sharpen at the points it has seen


@check(
    "what training keeps of its examples and evaluation looks up: buffers of examples, nearest "
    "neighbours, a kernel on each training point",
    needs=("training", "order", "determinism"),
    slow=True,
    cases="main",
)
def fresh_points(subject: ModelSubject) -> Finding:
    """Once trained, the density does not jump at training points more than at fresh ones."""
    model, _ = subject.with_likelihood(subject.trained())
    seen, fresh = subject.inputs(NUM, of="train"), subject.inputs(NUM, of="fresh")
    worst, allowed = 0.0, ROUNDING
    drops = (_drops(subject, model, at) for at in (seen, fresh))
    for at_seen, at_fresh in zip(*drops, strict=True):
        error = math.sqrt((float(at_seen.var()) + float(at_fresh.var())) / NUM)
        jump = float(at_seen.mean() - at_fresh.mean())
        slack = ROUNDING + USUAL * float(at_fresh.abs().mean()) + STANDARD_ERRORS * error
        if jump - slack > worst - allowed:
            worst, allowed = jump, slack
    return within(worst, allowed, "nats by which training points stand out more than fresh ones")


def _drops(subject: ModelSubject, model: DensityModel, at: Inputs) -> list[Tensor]:
    """By how much log_prob lies above that of the points on both sides, under the same noise."""

    def values(x: Tensor) -> Tensor:
        return log_probs(model, replace(at, x=x), 2).double()

    here = values(at.x)
    return [here - (values(above) + values(below)) / 2 for above, below in _sides(subject, at.x)]


def _sides(subject: ModelSubject, x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Points on both sides, at each distance."""
    if subject.is_discrete:
        # One value of each, by one level; at the edge one of the two sides is the point itself.
        place = torch.randint(x[0].numel(), (len(x), 1), generator=generator(1))
        aside = torch.zeros_like(x.flatten(1)).scatter_(1, place, 1).view_as(x)
        top = (subject.info.levels or 1) - 1
        return [((x + aside).clamp(max=top), (x - aside).clamp(min=0))]
    aside = x.std(dim=0) * torch.randn(x.shape, generator=generator(1), dtype=x.dtype)
    return [(x + step * aside, x - step * aside) for step in STEPS]
