"""float32 and float64 agree, and float64 is float64 throughout."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowbench.api.models import DensityModel, InvertibleModel
from flowbench.contract.checks import Check, Finding, failed, skipped, within
from flowbench.contract.models.subject import Inputs, ModelSubject, generator, log_prob
from flowbench.contract.models.tolerances import SAME_FLOAT32, SOLVER, STANDARD_ERRORS

NUM, NUM_DRAWS = 4, 32


def check_precision(subject: ModelSubject) -> Finding:
    """The likelihood of a perturbed model in float32 is that of the same model in float64."""
    if subject.kind is None:
        return skipped("the model has no likelihood")
    single, double = (subject.perturbed_density(t) for t in (torch.float32, torch.float64))
    inputs = subject.inputs(NUM)
    wide = Inputs(x=_wide(inputs.x), context=_wide_context(inputs))
    a, b = _values(single, inputs), _values(double, wide)
    if b.dtype != torch.float64:
        return failed(f"a model in float64 returned {b.dtype}; take dtype and device from x")
    spread = _standard_error(a) + _standard_error(b)
    excess = (a.double().mean(0) - b.mean(0)).abs() - STANDARD_ERRORS * spread
    allowed = SOLVER if subject.kind.tolerance is not None else 10 * SAME_FLOAT32
    per_dim = float(excess.max()) / subject.info.num_dims
    return within(max(per_dim, 0.0), allowed, "nats a dim between float32 and float64")


@torch.no_grad()
def _values(model: DensityModel, inputs: Inputs) -> Tensor:
    """Likelihoods, shape (draws, B); one draw suffices where there is no noise."""
    two = [log_prob(model, inputs, generator(seed)) for seed in range(2)]
    if torch.equal(*two):
        return torch.stack(two)
    # All draws in one pass: of a deep model, passes cost more than rows do.
    repeated = inputs.rows(torch.arange(NUM).repeat(NUM_DRAWS))
    return log_prob(model, repeated, generator(2)).view(NUM_DRAWS, NUM)


def _standard_error(values: Tensor) -> Tensor:
    spread: Tensor = values.double().std(dim=0)
    return spread / math.sqrt(len(values))


def _wide(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x


def _wide_context(inputs: Inputs) -> dict[str, Tensor] | None:
    return None if inputs.context is None else {k: _wide(v) for k, v in inputs.context.items()}


def check_float64_map(subject: ModelSubject) -> Finding:
    """Latents and ladj of a float64 model are float64."""
    if not subject.is_invertible:
        return skipped("the model has no inverse")
    model: InvertibleModel = subject.perturbed_flow(torch.float64)
    inputs = subject.inputs(NUM, torch.float64)
    with torch.no_grad():
        aux = model.sample_aux(inputs.x, generator=generator(0))
        latents, ladj = model.to_latent(inputs.x, inputs.context, aux=aux)
    wrong = {str(t.dtype) for t in (*latents, ladj) if t.dtype != torch.float64}
    if wrong:
        return failed(f"to_latent of a model in float64 returned {', '.join(sorted(wrong))}")
    return Finding(status="passed", detail="latents and ladj are float64")


CHECKS = (
    Check(
        name="precision",
        asks="log_prob in float32 is that in float64, and float64 weights give float64 values",
        look_at="tensors made without dtype and device (torch.zeros(n)), casts such as .float(), "
        "differences of large numbers, log(exp(...))",
        run=check_precision,
        needs=("shapes", "finite", "likelihood_kind"),
    ),
    Check(
        name="float64_map",
        asks="to_latent of a model in float64 stays in float64",
        look_at="tensors made without dtype and device, casts such as .float()",
        run=check_float64_map,
        needs=("precision",),
    ),
)
