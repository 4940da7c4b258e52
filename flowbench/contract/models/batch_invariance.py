"""An example's likelihood does not depend on its neighbours in the batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from flowbench.api.models import DensityModel, InvertibleModel, Latents
from flowbench.contract.checks import Check, Finding, skipped, within
from flowbench.contract.models.subject import Inputs, ModelSubject, generator, log_prob
from flowbench.contract.models.tolerances import STANDARD_ERRORS, relative_error, same

NUM = 6
NUM_DRAWS = 32  # of a likelihood whose noise cannot be told to go with its row
ROUNDING = 1e-9  # in nats; of a mean whose draws happen not to vary


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
    """A batch in another order, or of one row, has the same likelihoods.

    Augmentation noise goes with its row. Other noise is drawn row after row, so that another order
    is other noise: there it is the means over draws that must agree.
    """
    if subject.kind is None:
        return skipped("the model has no likelihood")
    model = subject.perturbed_density(torch.float64)
    inputs = subject.inputs(NUM, torch.float64)
    if torch.equal(_log_prob(model, inputs), _log_prob(model, inputs, seed=1)):
        return _check_order(subject, lambda rows: _log_prob(model, inputs.rows(rows)))
    # Of these two estimates the parts are not all of log_prob (see the check `log_prob`).
    is_composed = subject.kind.noise != "estimates"
    if is_composed and isinstance(model, InvertibleModel):
        aux = _drawn_aux(model, inputs)
        if aux is not None:
            return _check_order(subject, partial(_log_weight, model, inputs, aux))
    return _check_means(model, inputs)


def _check_order(subject: ModelSubject, evaluate: Callable[[Tensor], Tensor]) -> Finding:
    order = torch.arange(NUM)
    values = evaluate(order)
    flipped = evaluate(order.flip(0)).flip(0)
    alone = torch.cat([evaluate(order[i : i + 1]) for i in range(NUM)])
    error = max(relative_error(flipped, values), relative_error(alone, values))
    return within(error, same(subject.kind), "relative change in another order and row by row")


def _check_means(model: DensityModel, inputs: Inputs) -> Finding:
    backwards = inputs.rows(torch.arange(NUM).flip(0))
    seeds = range(NUM_DRAWS)
    here = torch.stack([_log_prob(model, inputs, seed) for seed in seeds])
    # Under the same seeds both means would hold a part of the same noise.
    there = torch.stack([_log_prob(model, backwards, NUM_DRAWS + s).flip(0) for s in seeds])
    spread = ((here.var(0) + there.var(0)) / NUM_DRAWS).sqrt()
    errors = (here.mean(0) - there.mean(0)).abs() / spread.clamp_min(ROUNDING)
    words = f"standard errors between means of {NUM_DRAWS} draws in either order"
    return within(float(errors.max()), STANDARD_ERRORS, words)


@torch.no_grad()
def _drawn_aux(model: InvertibleModel, inputs: Inputs) -> Latents | None:
    return model.sample_aux(inputs.x, generator=generator(0))


@torch.no_grad()
def _log_weight(model: InvertibleModel, inputs: Inputs, aux: Latents, rows: Tensor) -> Tensor:
    """log_prob of some rows with their own noise, but for the density of the noise."""
    chosen = inputs.rows(rows)
    noise = tuple(part[rows] for part in aux)
    latents, ladj = model.to_latent(chosen.x, chosen.context, aux=noise)
    return model.base_log_prob(latents) + ladj


@torch.no_grad()
def _log_prob(model: DensityModel, inputs: Inputs, seed: int = 0) -> Tensor:
    return log_prob(model, inputs, generator(seed))


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
        asks="a batch in reverse order, or one row at a time, has the same log_prob; each row with "
        "its augmentation noise, else on average over the noise",
        look_at="what depends on a row's position or on the size of the batch",
        run=check_order,
        needs=("neighbours",),
    ),
)
