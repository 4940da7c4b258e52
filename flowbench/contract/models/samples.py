"""Samples come from the distribution that the likelihood describes: seen from the latents."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from flowbench.api.models import Latents
from flowbench.contract.checks import Check, Finding, failed, skipped, within
from flowbench.contract.models.subject import ModelSubject, draw, generator
from flowbench.contract.statistics import kolmogorov_smirnov, kolmogorov_smirnov_limit

NUM_VECTORS, NUM_OTHERS = 2000, 400  # samples of images cost more, and have more dims to fail in


@torch.no_grad()
def check_samples(subject: ModelSubject) -> Finding:
    """Samples, mapped to latents, are distributed as the base distribution (Kolmogorov-Smirnov)."""
    if not subject.is_invertible or subject.is_discrete:
        return skipped("samples are not mapped to latents one to one; see `sampling`")
    model = subject.perturbed_flow()
    if model.sample_aux(subject.inputs(1).x, generator=generator(0)) is not None:
        return skipped("the augmentation noise behind a sample is not known; see `sampling`")
    num = NUM_VECTORS if subject.info.modality == "vector" else NUM_OTHERS
    x = draw(subject, model, num, generator(1))
    if not bool(x.isfinite().all()):
        return failed("samples hold values that are not finite")
    given = subject.given(subject.sample_context(num))
    latents, _ = model.to_latent(x, given)
    base = model.sample_base(
        num, temperature=1.0, generator=generator(2), device=torch.device("cpu")
    )
    a, b = _columns(latents), _columns(base)
    distances = [kolmogorov_smirnov(a[:, i], b[:, i]) for i in range(a.shape[1])]
    limit = kolmogorov_smirnov_limit(num, num, a.shape[1])
    return within(max(distances), limit, f"Kolmogorov-Smirnov distance over {num} samples")


def _columns(latents: Latents) -> NDArray[np.float64]:
    """Every dim, and the squared radius, which sees a scale that each dim alone hides."""
    flat = torch.cat([z.flatten(1) for z in latents], dim=1).double()
    return torch.cat([flat, flat.square().sum(dim=1, keepdim=True)], dim=1).numpy()


CHECKS = (
    Check(
        name="samples",
        asks="to_latent(sample()) is distributed as sample_base()",
        look_at="sample(): a temperature or scale that is applied twice, latents in another order, "
        "an inverse that is not that of to_latent",
        run=check_samples,
        needs=("determinism", "round_trip"),
    ),
)
