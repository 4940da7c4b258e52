"""Refitting changes what is estimated from data and no parameter."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

from flowbench.api.models import Batch, GenerativeModel
from flowbench.contract.checks import Check, Finding, failed, passed
from flowbench.contract.models.subject import ModelSubject, generator

NUM, BATCH_SIZE = 16, 8  # two batches: an average over them, not the last of them


def check_refit(subject: ModelSubject) -> Finding:
    """``refit`` runs on raw and on averaged weights, and leaves the parameters alone."""
    raw = subject.perturbed().train()
    averaged = copy.deepcopy(raw).requires_grad_(False)  # as the harness keeps an average
    batches = _batches(subject.batch(NUM))
    for words, model in (("raw", raw), ("averaged", averaged)):
        problem = _problem(model, batches)
        if problem is not None:
            return failed(f"{problem} of {words} weights")
    return passed("raw and averaged weights keep their parameters")


def _batches(batch: Batch) -> list[Batch]:
    starts = range(0, len(batch.x), BATCH_SIZE)
    rows = [slice(start, start + BATCH_SIZE) for start in starts]
    return [Batch(x=batch.x[r], context={k: v[r] for k, v in batch.context.items()}) for r in rows]


def _problem(model: GenerativeModel, batches: Sequence[Batch]) -> str | None:
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    with torch.no_grad():
        model.refit(batches, generator=generator(0))
    for name, parameter in model.named_parameters():
        if not torch.equal(parameter, before[name]):
            return f"refit changed the parameter {name!r}"
    for name, value in model.named_buffers():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            return f"refit left values in {name!r} that are not finite"
    return None


CHECKS = (
    Check(
        name="refit",
        asks="refit(batches) runs on raw and averaged weights and changes no parameter",
        look_at="refit(): what it estimates belongs into buffers",
        run=check_refit,
        needs=("shapes", "finite", "gradients"),
    ),
)
