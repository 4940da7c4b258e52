"""An example's likelihood does not depend on its neighbours in the batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from flowbench.api.models import DensityModel, InvertibleModel, Latents
from flowbench.contract.checking.checks import Finding, check, within
from flowbench.contract.models.subject import Inputs, ModelSubject, generator, log_probs
from flowbench.contract.models.tolerances import STANDARD_ERRORS, relative_error, same

NUM = 6
NUM_DRAWS = 32  # of a likelihood whose noise cannot be told to go with its row
ROUNDING = 1e-9  # in nats; of a mean whose draws happen not to vary


@check(
    "batch statistics in eval mode, reductions over axis 0, attention or normalisation across the "
    "batch axis, masks made from the first row",
    needs=("precision",),
)
def neighbours(subject: ModelSubject) -> Finding:
    """In eval mode a row's log_prob does not depend on the other rows of its batch.

    Both batches have one shape and one seed, so the first row meets the same noise: this holds
    exactly for stochastic likelihoods too.
    """
    model = subject.perturbed_density(torch.float64)
    inputs = subject.inputs(2 * NUM, torch.float64)
    rows = torch.arange(NUM)
    # All neighbours at once: a dependence on a single one of them could cancel.
    others = torch.cat([torch.zeros(1, dtype=torch.long), rows[1:] + NUM])
    first, second = (log_probs(model, inputs.rows(index))[:1] for index in (rows, others))
    return within(
        relative_error(first, second),
        same(subject.kind),
        f"relative change of one row's log_prob when its {NUM - 1} neighbours are exchanged",
    )


@check("what depends on a row's position or on the size of the batch", needs=("neighbours",))
def order(subject: ModelSubject) -> Finding:
    """A batch in reverse order, or one row at a time, has the same log_prob.

    Augmentation noise goes with its row. Other noise is drawn row after row, so that another order
    is other noise: there it is the means over draws that must agree.
    """
    model = subject.perturbed_density(torch.float64)
    inputs = subject.inputs(NUM, torch.float64)
    # By what it does and not by what it declares: this holds whatever the configuration says.
    if torch.equal(log_probs(model, inputs, 0), log_probs(model, inputs, 1)):
        return _same_order(subject, lambda rows: log_probs(model, inputs.rows(rows)))
    # Of estimates the parts are not all of log_prob (see the check `log_prob`).
    if isinstance(model, InvertibleModel) and not subject.is_estimated:
        with torch.no_grad():
            aux = model.sample_aux(inputs.x, generator=generator(0))
        if aux is not None:
            return _same_order(subject, partial(_log_weight, model, inputs, aux))
    return _same_means(model, inputs)


def _same_order(subject: ModelSubject, evaluate: Callable[[Tensor], Tensor]) -> Finding:
    order = torch.arange(NUM)
    values = evaluate(order)
    flipped = evaluate(order.flip(0)).flip(0)
    # One row at a time: batch statistics over a single row show at once.
    alone = torch.cat([evaluate(order[i : i + 1]) for i in range(NUM)])
    error = max(relative_error(flipped, values), relative_error(alone, values))
    return within(error, same(subject.kind), "relative change in another order and row by row")


def _same_means(model: DensityModel, inputs: Inputs) -> Finding:
    backwards = inputs.rows(torch.arange(NUM).flip(0))
    seeds = range(NUM_DRAWS)
    here = torch.stack([log_probs(model, inputs, seed) for seed in seeds])
    # Under the same seeds both means would hold a part of the same noise.
    there = torch.stack([log_probs(model, backwards, NUM_DRAWS + s).flip(0) for s in seeds])
    spread = ((here.var(0) + there.var(0)) / NUM_DRAWS).sqrt()
    errors = (here.mean(0) - there.mean(0)).abs() / spread.clamp_min(ROUNDING)
    words = f"standard errors between means of {NUM_DRAWS} draws in either order"
    return within(float(errors.max()), STANDARD_ERRORS, words)


@torch.no_grad()
def _log_weight(model: InvertibleModel, inputs: Inputs, aux: Latents, rows: Tensor) -> Tensor:
    """log_prob of some rows with their own noise, but for the density of the noise."""
    chosen = inputs.rows(rows)
    noise = tuple(part[rows] for part in aux)
    latents, ladj = model.to_latent(chosen.x, chosen.context, aux=noise)
    return model.base_log_prob(latents) + ladj
