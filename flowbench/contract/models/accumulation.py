"""The loss may be called several times before the weights move: gradients accumulate."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from flowbench.api.models import Batch, GenerativeModel
from flowbench.contract.checks import Check, Finding, skipped, within
from flowbench.contract.models.subject import ModelSubject, loss, step
from flowbench.contract.models.tolerances import SAME_FLOAT32

NUM = 8


def check_accumulation(subject: ModelSubject) -> Finding:
    """The gradient of a sum of two losses is that of one after the other."""
    # Training mode, since it is there that buffers move between the two calls.
    together = subject.perturbed().train()
    groups = tuple(together.optimizer_groups())
    if not groups:
        return skipped("no optimizer groups: the model is fitted by initialize alone")
    apart = copy.deepcopy(together)
    first, second = _halves(subject.batch(NUM))
    for group in groups:
        (_loss(together, first, group) + _loss(together, second, group)).backward()
        for half in (first, second):
            _loss(apart, half, group).backward()
    pairs = zip(together.parameters(), apart.parameters(), strict=True)
    error = max((_difference(a.grad, b.grad) for a, b in pairs), default=0.0)
    return within(error, SAME_FLOAT32, "difference of gradients, relative to the largest of each")


def _loss(model: GenerativeModel, batch: Batch, group: str) -> Tensor:
    torch.manual_seed(0)  # of noise that takes no generator, such as dropout's
    return loss(model, batch, step(group))


def _halves(batch: Batch) -> tuple[Batch, Batch]:
    middle = len(batch.x) // 2
    a, b = (
        Batch(x=batch.x[rows], context={k: v[rows] for k, v in batch.context.items()})
        for rows in (slice(middle), slice(middle, None))
    )
    return a, b


def _difference(a: Tensor | None, b: Tensor | None) -> float:
    if a is None or b is None:
        return 0.0 if a is b else float("inf")
    return float(
        (a - b).abs().max() / b.abs().max().clamp_min(1e-6)
    )  # of a zero gradient, rounding


CHECKS = (
    Check(
        name="accumulation",
        asks="two calls of loss before one backward pass give the gradients of two passes",
        look_at="buffers that loss changes in place and that its graph holds, tensors that are "
        "kept from one call to the next",
        run=check_accumulation,
        needs=("shapes", "finite", "inputs", "gradients"),
    ),
)
