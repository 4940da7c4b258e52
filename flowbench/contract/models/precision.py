"""float32 and float64 agree, and float64 is float64 throughout."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowbench.api.models import DensityModel
from flowbench.contract.checking.checks import Finding, check, failed, passed, within
from flowbench.contract.models.subject import Inputs, ModelSubject, generator, log_probs
from flowbench.contract.models.tolerances import SAME_FLOAT32, STANDARD_ERRORS, same

NUM, NUM_DRAWS = 4, 32


@check(
    "tensors made without dtype and device (torch.zeros(n)), casts such as .float(), differences "
    "of large numbers, log(exp(...))",
    needs=("shapes", "finite", "likelihood_kind"),
)
def precision(subject: ModelSubject) -> Finding:
    """log_prob in float32 is that in float64, and float64 weights give float64 values."""
    dtypes = (torch.float32, torch.float64)
    # Both are built before either is evaluated, which may set the default dtype (process_state).
    single, double = (subject.perturbed_density(dtype) for dtype in dtypes)
    a, b = (
        _values(m, subject.inputs(NUM, t)) for m, t in zip((single, double), dtypes, strict=True)
    )
    if b.dtype != torch.float64:
        return failed(f"a model in float64 returned {b.dtype}; take dtype and device from x")
    spread = _standard_error(a) + _standard_error(b)
    # Beyond the noise: the two dtypes draw other noise under one seed.
    excess = (a.double().mean(0) - b.mean(0)).abs() - STANDARD_ERRORS * spread
    # A dim, as rounding adds up over them.
    per_dim = float(excess.max()) / subject.info.num_dims
    allowed = same(subject.kind, 10 * SAME_FLOAT32)
    return within(max(per_dim, 0.0), allowed, "nats a dim between float32 and float64")


def _values(model: DensityModel, inputs: Inputs) -> Tensor:
    """Likelihoods, shape (draws, B); one draw suffices where there is no noise."""
    two = [log_probs(model, inputs, seed) for seed in range(2)]
    if torch.equal(*two):
        return torch.stack(two)
    # All draws in one pass: of a deep model, passes cost more than rows do.
    repeated = inputs.rows(torch.arange(NUM).repeat(NUM_DRAWS))
    return log_probs(model, repeated, 2).view(NUM_DRAWS, NUM)


def _standard_error(values: Tensor) -> Tensor:
    spread: Tensor = values.double().std(dim=0)
    return spread / math.sqrt(len(values))


@check("tensors made without dtype and device, casts such as .float()", needs=("precision",))
def float64_map(subject: ModelSubject) -> Finding:
    """to_latent of a model in float64 stays in float64."""
    model, inputs = subject.perturbed_flow(torch.float64), subject.inputs(NUM, torch.float64)
    with torch.no_grad():
        aux = model.sample_aux(inputs.x, generator=generator(0))
        latents, ladj = model.to_latent(inputs.x, inputs.context, aux=aux)
    wrong = {str(t.dtype) for t in (*latents, ladj) if t.dtype != torch.float64}
    if wrong:
        return failed(f"to_latent of a model in float64 returned {', '.join(sorted(wrong))}")
    return passed("latents and ladj are float64")
