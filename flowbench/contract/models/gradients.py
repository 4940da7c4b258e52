"""Every parameter learns."""

from __future__ import annotations

from torch import nn

from flowbench.api.models import GenerativeModel
from flowbench.contract.checks import Check, Finding, failed, passed, skipped
from flowbench.contract.models.subject import ModelSubject, loss, step

NUM = 32
NAMED = 3  # parameters that a message names


def check_gradients(subject: ModelSubject) -> Finding:
    """Every trainable parameter is in one optimizer group and gets a gradient from its loss."""
    model = subject.perturbed().train()
    groups = model.optimizer_groups()
    names = {id(p): name for name, p in model.named_parameters()}
    stray = [g for g, ps in groups.items() if any(id(p) not in names for p in ps)]
    if stray:
        return failed(f"group {stray[0]!r} holds tensors that are not parameters of the model")
    if not groups:
        return skipped("no optimizer groups: the model is fitted by initialize alone")
    grouped = [id(p) for ps in groups.values() for p in ps]
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    left_out = [name for name, p in trainable.items() if id(p) not in grouped]
    if left_out:
        return failed(f"in no optimizer group: {_named(left_out)}")
    return _check_reached(subject, model, groups)


def _check_reached(
    subject: ModelSubject, model: GenerativeModel, groups: dict[str, list[nn.Parameter]]
) -> Finding:
    names = {id(p): name for name, p in model.named_parameters()}
    batch, dead = subject.batch(NUM), 0
    for group, parameters in groups.items():
        model.zero_grad(set_to_none=True)
        loss(model, batch, step(group)).backward()
        missing = [names[id(p)] for p in parameters if p.grad is None]
        if missing:
            return failed(f"the loss of {group!r} does not reach {_named(missing)}")
        grads = [(p.grad, names[id(p)]) for p in parameters if p.grad is not None]
        bad = [name for grad, name in grads if not grad.isfinite().all()]
        if bad:
            return failed(f"the gradient of {_named(bad)} is not finite")
        dead += sum(not grad.any() for grad, _ in grads)
    zero = f", of {dead} of them it is 0 on this batch" if dead else ""
    return passed(f"a finite gradient reaches all {len(names)} parameters{zero}")


def _named(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


CHECKS = (
    Check(
        name="gradients",
        asks="every trainable parameter is in an optimizer group and gets a finite gradient",
        look_at="optimizer_groups(), .detach(), .data and torch.no_grad() in the forward pass, "
        "modules that are made and never called (set requires_grad=False on what is frozen)",
        run=check_gradients,
        needs=("shapes", "finite"),
    ),
)
