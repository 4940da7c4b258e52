"""Samples come from the distribution that the likelihood describes, and obey their settings."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from flowbench.api.config import sampling_options as checked_options
from flowbench.api.models import Latents
from flowbench.api.protocol import SampleSettings
from flowbench.contract.checking.checks import Finding, check, failed, passed, skipped, within
from flowbench.contract.checking.statistics import kolmogorov_smirnov, kolmogorov_smirnov_limit
from flowbench.contract.models.subject import ModelSubject, draw, generator
from flowbench.errors import ConfigError

NUM_VECTORS, NUM_OTHERS = 2000, 400  # samples of images cost more, and have more dims to fail in
NUM = 4


@check(
    "sample(): a temperature or scale that is applied twice, latents in another order, an inverse "
    "that is not that of to_latent",
    needs=("determinism", "round_trip"),
)
@torch.no_grad()
def samples(subject: ModelSubject) -> Finding:
    """to_latent(sample()) is distributed as sample_base(), by Kolmogorov and Smirnov's test."""
    model = subject.perturbed_flow()
    if subject.is_discrete:
        return skipped("samples are not mapped to latents one to one; see `sampling`")
    if model.sample_aux(subject.inputs(1).x, generator=generator(0)) is not None:
        return skipped("the augmentation noise behind a sample is not known; see `sampling`")
    num = NUM_VECTORS if subject.info.modality == "vector" else NUM_OTHERS
    x = draw(subject, model, num, 1)
    if not bool(x.isfinite().all()):
        return failed("samples hold values that are not finite")
    latents, _ = model.to_latent(x, subject.given(subject.sample_context(num)))
    base = model.sample_base(
        num, temperature=1.0, generator=generator(2), device=torch.device("cpu")
    )
    a, b = _columns(latents), _columns(base)
    distances = [kolmogorov_smirnov(a[:, i], b[:, i]) for i in range(a.shape[1])]
    # For as many comparisons as there are dims, or one in a thousand would fail by chance.
    limit = kolmogorov_smirnov_limit(num, num, a.shape[1])
    return within(max(distances), limit, f"Kolmogorov-Smirnov distance over {num} samples")


def _columns(latents: Latents) -> NDArray[np.float64]:
    """Every dim, and the squared radius, which sees a scale that each dim alone hides."""
    flat = torch.cat([z.flatten(1) for z in latents], dim=1).double()
    return torch.cat([flat, flat.square().sum(dim=1, keepdim=True)], dim=1).numpy()


@check(
    "settings.temperature in sample(); a model without a temperature sets "
    "`sampling = NoTemperature` in its config class",
    needs=("determinism",),
)
def sampling_options(subject: ModelSubject) -> Finding:
    """sample() obeys or refuses a temperature, and never passes over it."""
    try:
        options = checked_options(subject.config, SampleSettings(temperature=0.25), subject.info)
    except ConfigError:
        return passed("the model's options refuse a temperature")
    model = subject.perturbed()
    num = 16 * NUM if subject.is_discrete else NUM  # few integers can be equal by chance
    if torch.equal(draw(subject, model, num, 0, options), draw(subject, model, num, 0)):
        return failed("temperature 0.25 gives the samples of temperature 1")
    return passed("the temperature has an effect")
