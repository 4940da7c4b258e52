"""Samples come from the distribution that the likelihood describes, and obey their settings."""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray

from flowbench.api.config import sampling_options as checked_options
from flowbench.api.models import InvertibleModel, Latents
from flowbench.api.protocol import SampleSettings
from flowbench.contract.checking.checks import (
    DoesNotApplyError,
    Finding,
    check,
    failed,
    passed,
    within,
)
from flowbench.contract.checking.statistics import kolmogorov_smirnov, kolmogorov_smirnov_limit
from flowbench.contract.models.subject import ModelSubject, draw, generator
from flowbench.contract.models.tolerances import ROUND_TRIP, STANDARD_ERRORS, same
from flowbench.errors import ConfigError, ContractError

NUM_VECTORS, NUM_OTHERS = 2000, 400  # samples of images cost more, and have more dims to fail in
MIN_SAMPLES, DIMS_SAMPLED = 400, 80_000  # a temperature of 0.97 is 10 standard errors away
PILOT, LIMIT_S = 0.1, 1.0  # part of them that is timed; a slow inverse gives fewer
NUM = 4


@check(
    "sample(): a temperature or scale that is applied twice, latents in another order, an inverse "
    "that is not that of to_latent",
    needs=("determinism", "round_trip"),
)
def samples(subject: ModelSubject) -> Finding:
    """to_latent(sample()) is distributed as sample_base(), by Kolmogorov and Smirnov's test."""
    num = NUM_VECTORS if subject.info.modality == "vector" else NUM_OTHERS
    model = subject.perturbed_flow()
    a, b = _columns(_latents(subject, model, num)), _columns(_base(model, num))
    distances = [kolmogorov_smirnov(a[:, i], b[:, i]) for i in range(a.shape[1])]
    # For as many comparisons as there are dims, or one in a thousand would fail by chance.
    limit = kolmogorov_smirnov_limit(num, num, a.shape[1])
    return within(max(distances), limit, f"Kolmogorov-Smirnov distance over {num} samples")


@check(
    "sample(): a temperature below 1 that is built in or taken for 1, truncated noise",
    needs=("training", "samples"),
    slow=True,
    cases="main",
)
@torch.no_grad()
def temperature(subject: ModelSubject) -> Finding:
    """Once trained, samples have the base density at their latents that draws of the base have."""
    model = subject.with_inverse(subject.trained())
    most = max(MIN_SAMPLES, DIMS_SAMPLED // subject.info.num_dims)
    start, num = time.process_time(), max(MIN_SAMPLES, int(PILOT * most))
    found = model.base_log_prob(_latents(subject, model, num)).double()
    affordable = int(num * LIMIT_S / max(time.process_time() - start, 1e-9))
    if (more := min(most, affordable) - num) > 0:
        rest = model.base_log_prob(_latents(subject, model, more, seed=3)).double()
        found, num = torch.cat([found, rest]), num + more
    expected = model.base_log_prob(_base(model, 10 * num)).double()
    error = (found.var() / len(found) + expected.var() / len(expected)).sqrt().clamp_min(1e-9)
    slack = same(subject.kind, ROUND_TRIP) * subject.info.num_dims
    excess = max(0.0, float((found.mean() - expected.mean()).abs()) - slack) / float(error)
    words = f"standard errors between mean base densities of {num:,} samples and of draws"
    return within(excess, STANDARD_ERRORS, words)


@torch.no_grad()
def _latents(subject: ModelSubject, model: InvertibleModel, num: int, *, seed: int = 1) -> Latents:
    """Latents of samples.

    Raises:
        DoesNotApplyError: They are not those that the samples were made of.
        ContractError: A sample is not finite.
    """
    if subject.is_discrete or model.sample_aux(subject.inputs(1).x, generator=generator(0)):
        raise DoesNotApplyError("samples are not mapped to latents one to one; see `sampling`")
    x = draw(subject, model, num, seed)
    if not bool(x.isfinite().all()):
        raise ContractError("samples hold values that are not finite")
    return model.to_latent(x, subject.given(subject.sample_context(num)))[0]


@torch.no_grad()
def _base(model: InvertibleModel, num: int) -> Latents:
    cpu = torch.device("cpu")
    return model.sample_base(num, temperature=1.0, generator=generator(2), device=cpu)


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
