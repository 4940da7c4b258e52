"""An example's likelihood does not depend on its neighbours in the batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from flowbench.api.models import DensityModel, InvertibleModel, Latents
from flowbench.api.protocol import MetricSettings
from flowbench.contract.checking.checks import Finding, check, skipped, within
from flowbench.contract.models.subject import Inputs, ModelSubject, generator, log_probs
from flowbench.contract.models.tolerances import SAME_FLOAT32, STANDARD_ERRORS, relative_error, same

NUM = 6
NUM_DRAWS = 12  # of a likelihood whose noise cannot be told to go with its row
LIMIT_S = 10.0  # for a batch of the harness's size
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
    evaluate, rows = _by_row(subject, model, inputs), torch.arange(NUM)
    if evaluate is None:
        backwards = inputs.rows(rows.flip(0))
        # Under the same seeds both means would hold a part of the same noise.
        there = [log_probs(model, backwards, NUM_DRAWS + s).flip(0) for s in range(NUM_DRAWS)]
        return _same_means(model, inputs, torch.stack(there))
    flipped = evaluate(rows.flip(0)).flip(0)
    # One row at a time: batch statistics over a single row show at once.
    alone = torch.cat([evaluate(rows[i : i + 1]) for i in rows])
    values = evaluate(rows)
    error = max(relative_error(flipped, values), relative_error(alone, values))
    return within(error, same(subject.kind), "relative change in another order and row by row")


@check(
    "what depends on the size of the batch: sums and means over axis 0, chunks, another path for "
    "many rows",
    needs=("training", "order"),
    slow=True,
    cases="main",
)
def batch_size(subject: ModelSubject) -> Finding:
    """Once trained, a row has the same log_prob in batches of the harness's own size."""
    model, _ = subject.with_likelihood(subject.trained())
    inputs, num = subject.inputs(NUM), MetricSettings().batch_size
    evaluate, rows = _by_row(subject, model, inputs), torch.arange(num) % NUM
    start = time.process_time()
    log_probs(model, inputs)
    if (seconds := (time.process_time() - start) * num / NUM) > LIMIT_S:
        return skipped(f"a batch of {num} would take {seconds:.0f} s")
    if evaluate is None:
        whole = num // NUM * NUM
        there = log_probs(model, inputs.rows(rows), NUM_DRAWS)[:whole].view(-1, NUM)
        return _same_means(model, inputs, there)
    error = relative_error(evaluate(rows), evaluate(rows[:NUM]).repeat(num // NUM + 1)[:num])
    return within(error, same(subject.kind, SAME_FLOAT32), f"relative change in batches of {num}")


def _by_row(
    subject: ModelSubject, model: DensityModel, inputs: Inputs
) -> Callable[[Tensor], Tensor] | None:
    """The likelihoods of some rows, whose noise goes with them; None where it cannot."""
    # By what it does and not by what it declares: this holds whatever the configuration says.
    if torch.equal(log_probs(model, inputs, 0), log_probs(model, inputs, 1)):
        return lambda rows: log_probs(model, inputs.rows(rows))
    # Of estimates the parts are not all of log_prob (see the check `log_prob`).
    if not isinstance(model, InvertibleModel) or subject.is_estimated:
        return None
    with torch.no_grad():
        aux = model.sample_aux(inputs.x, generator=generator(0))
    return None if aux is None else partial(_log_weight, model, inputs, aux)


def _same_means(model: DensityModel, inputs: Inputs, there: Tensor) -> Finding:
    """Whether draws for other batches, (draws, NUM), have the mean of those for this one."""
    here = torch.stack([log_probs(model, inputs, seed) for seed in range(NUM_DRAWS)])
    spread = (here.var(0) / len(here) + there.var(0) / len(there)).sqrt()
    errors = (here.mean(0) - there.mean(0)).abs() / spread.clamp_min(ROUNDING)
    return within(float(errors.max()), STANDARD_ERRORS, "standard errors between means of draws")


@torch.no_grad()
def _log_weight(model: InvertibleModel, inputs: Inputs, aux: Latents, rows: Tensor) -> Tensor:
    """log_prob of some rows with their own noise, but for the density of the noise."""
    chosen = inputs.rows(rows)
    noise = tuple(part[rows] for part in aux)
    latents, ladj = model.to_latent(chosen.x, chosen.context, aux=noise)
    return model.base_log_prob(latents) + ladj
