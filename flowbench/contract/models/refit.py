"""Refitting changes what is estimated from data and no parameter."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

from flowbench.api.models import Batch, GenerativeModel
from flowbench.contract.checking.checks import Finding, check, failed, passed
from flowbench.contract.models.subject import ModelSubject, generator, rows_of

BATCH_SIZE = 8


@check(
    "refit(): what it estimates belongs into buffers",
    needs=("shapes", "finite", "gradients"),
)
def refit(subject: ModelSubject) -> Finding:
    """Refitting runs on raw and on averaged weights and changes no parameter."""
    raw = subject.perturbed().train()
    averaged = copy.deepcopy(raw).requires_grad_(False)  # as the harness keeps an average
    batch = subject.batch(2 * BATCH_SIZE)  # two batches: an average over them, not the last of them
    halves = [rows_of(batch, rows) for rows in (slice(BATCH_SIZE), slice(BATCH_SIZE, None))]
    for words, model in (("raw", raw), ("averaged", averaged)):
        problem = _problem(model, halves)
        if problem is not None:
            return failed(f"{problem} of {words} weights")
    return passed("raw and averaged weights keep their parameters")


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
