"""Every parameter learns, and two losses add up."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from flowbench.api.models import GenerativeModel
from flowbench.contract.checking.checks import Finding, check, failed, passed, skipped, within
from flowbench.contract.models.subject import ModelSubject, loss, rows_of, step
from flowbench.contract.models.tolerances import SAME_FLOAT32

NUM, NUM_HALF = 32, 4
NAMED = 3  # parameters that a message names
NO_GROUPS = "no optimizer groups: the model is fitted by initialize alone"


@check(
    "optimizer_groups(), .detach(), .data and torch.no_grad() in the forward pass, modules that "
    "are made and never called (set requires_grad=False on what is frozen)",
    needs=("shapes", "finite"),
)
def gradients(subject: ModelSubject) -> Finding:
    """Every trainable parameter is in an optimizer group and gets a finite gradient."""
    # Perturbed, for at the start zero-initialised layers let no gradient through.
    model = subject.perturbed().train()
    groups = model.optimizer_groups()
    names = {id(p): name for name, p in model.named_parameters()}
    stray = [g for g, ps in groups.items() if any(id(p) not in names for p in ps)]
    if stray:
        return failed(f"group {stray[0]!r} holds tensors that are not parameters of the model")
    if not groups:
        return skipped(NO_GROUPS)
    grouped = {id(p) for ps in groups.values() for p in ps}
    trainable = [p for p in model.parameters() if p.requires_grad]
    left_out = [p for p in trainable if id(p) not in grouped]
    if left_out:
        return failed(f"in no optimizer group: {_named(left_out, names)}")
    return _reached(subject, model, groups, names)


def _reached(
    subject: ModelSubject,
    model: GenerativeModel,
    groups: dict[str, list[nn.Parameter]],
    names: dict[int, str],
) -> Finding:
    batch, dead = subject.batch(NUM), 0
    for group, parameters in groups.items():
        model.zero_grad(set_to_none=True)
        loss(model, batch, step(group)).backward()
        # None and not zero: a ReLU may well give 0 on one batch, None means that nothing leads
        # there.
        missing = [p for p in parameters if p.grad is None]
        if missing:
            return failed(f"the loss of {group!r} does not reach {_named(missing, names)}")
        bad = [p for p in parameters if p.grad is not None and not p.grad.isfinite().all()]
        if bad:
            return failed(f"the gradient of {_named(bad, names)} is not finite")
        dead += sum(p.grad is not None and not p.grad.any() for p in parameters)
    zero = f", of {dead} of them it is 0 on this batch" if dead else ""
    return passed(f"a finite gradient reaches all {len(names)} parameters{zero}")


def _named(parameters: Iterable[nn.Parameter], names: dict[int, str]) -> str:
    found = [names[id(p)] for p in parameters]
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return ", ".join(found[:NAMED]) + more


ROUNDED = 0.01  # of the largest gradient: of one that is zero, such as a norm's, rounding is left


@check(
    "buffers that loss changes in place and that its graph holds, tensors that are kept from one "
    "call to the next",
    needs=("inputs", "gradients"),
)
def accumulation(subject: ModelSubject) -> Finding:
    """Two calls of loss before one backward pass give the gradients of two passes."""
    # Training mode, since it is there that buffers move between the two calls.
    together = subject.perturbed().train()
    groups = tuple(together.optimizer_groups())
    if not groups:
        return skipped(NO_GROUPS)
    apart = copy.deepcopy(together)
    batch = subject.batch(2 * NUM_HALF)
    first, second = (rows_of(batch, r) for r in (slice(NUM_HALF), slice(NUM_HALF, None)))
    for group in groups:
        torch.manual_seed(0)  # of noise that takes no generator, such as dropout's
        (loss(together, first, step(group)) + loss(together, second, step(group))).backward()
        torch.manual_seed(0)
        loss(apart, first, step(group)).backward()
        loss(apart, second, step(group)).backward()
    pairs = [
        (a.grad, b.grad) for a, b in zip(together.parameters(), apart.parameters(), strict=True)
    ]
    largest = max((float(b.abs().max()) for _, b in pairs if b is not None), default=0.0)
    error = max((_difference(a, b, ROUNDED * largest) for a, b in pairs), default=0.0)
    return within(error, SAME_FLOAT32, "difference of gradients, relative to the largest of each")


def _difference(a: Tensor | None, b: Tensor | None, least: float) -> float:
    if a is None or b is None:
        return 0.0 if a is b else float("inf")
    return float((a - b).abs().max() / b.abs().max().clamp_min(max(least, 1e-30)))
