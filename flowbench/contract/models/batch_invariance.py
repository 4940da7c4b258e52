"""An example's likelihood does not depend on its neighbours in the batch."""

from __future__ import annotations

import torch
from torch import Tensor

from flowbench.api.models import DensityModel
from flowbench.contract.checks import Check, Finding, skipped, within
from flowbench.contract.models.subject import Inputs, ModelSubject, generator
from flowbench.contract.models.tolerances import relative_error, same

NUM = 6


def check_neighbours(subject: ModelSubject) -> Finding:
    """The first row keeps its likelihood when all the others are exchanged.

    Both batches have one shape and one seed, so the first row meets the same noise: this holds
    exactly for stochastic likelihoods too.
    """
    if subject.kind is None:
        return skipped("the model has no likelihood")
    model = subject.perturbed_density(torch.float64)
    inputs = subject.inputs(2 * NUM, torch.float64)
    rows = torch.arange(NUM)
    others = torch.cat([torch.zeros(1, dtype=torch.long), rows[1:] + NUM])
    first, second = (_log_prob(model, inputs.rows(index))[:1] for index in (rows, others))
    return within(
        relative_error(first, second),
        same(subject.kind),
        f"relative change of one row's log_prob when its {NUM - 1} neighbours are exchanged",
    )


def check_order(subject: ModelSubject) -> Finding:
    """A batch in another order, or of one row, has the same likelihoods."""
    kind = subject.kind
    if kind is None:
        return skipped("the model has no likelihood")
    model = subject.perturbed_density(torch.float64)
    inputs = subject.inputs(NUM, torch.float64)
    values = _log_prob(model, inputs)
    if not torch.equal(values, _log_prob(model, inputs, seed=1)):
        return skipped("log_prob draws noise by row; exchanged neighbours say it for one row")
    order = torch.arange(NUM).flip(0)
    flipped = _log_prob(model, inputs.rows(order)).flip(0)
    alone = torch.cat([_log_prob(model, inputs.rows(slice(i, i + 1))) for i in range(NUM)])
    error = max(relative_error(flipped, values), relative_error(alone, values))
    return within(error, same(kind), "relative change in another order and row by row")


@torch.no_grad()
def _log_prob(model: DensityModel, inputs: Inputs, seed: int = 0) -> Tensor:
    return model.log_prob(inputs.x, inputs.context, generator=generator(seed)).values


CHECKS = (
    Check(
        name="neighbours",
        asks="in eval mode a row's log_prob does not depend on the other rows of its batch",
        look_at="batch statistics in eval mode, reductions over axis 0, attention or normalisation "
        "across the batch axis, masks made from the first row",
        run=check_neighbours,
        needs=("precision",),
    ),
    Check(
        name="order",
        asks="a batch in reverse order, or one row at a time, has the same log_prob",
        look_at="what depends on a row's position or on the size of the batch",
        run=check_order,
        needs=("neighbours",),
    ),
)
