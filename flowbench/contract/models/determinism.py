"""The same seed gives the same result, another seed another."""

from __future__ import annotations

import torch
from torch import Tensor

from flowbench.api.models import DensityModel, GenerativeModel
from flowbench.contract.checks import Check, Finding, failed, passed
from flowbench.contract.models.subject import ModelSubject, draw, generator, log_prob

NUM = 8


def check_determinism(subject: ModelSubject) -> Finding:
    """Building, evaluating and sampling are functions of their seeds."""
    first, second = subject.build(seed=1), subject.build(seed=1)
    for name, value in first.state_dict().items():
        if not _equal(value, second.state_dict()[name]):
            return failed(f"two builds under one seed differ in {name!r}")
    if isinstance(first, DensityModel):
        values = [_log_prob(subject, first), _log_prob(subject, first)]
        if not _equal(*values):
            return failed("log_prob differs between two calls with generators of one seed")
    one, again, other = (_sample(subject, first, seed) for seed in (5, 5, 6))
    if not _equal(one, again):
        return failed("sample differs between two calls with generators of one seed")
    if _equal(one, other):
        return failed("sample returns the same values for generators of two seeds")
    return passed("builds, likelihoods and samples follow their seeds")


@torch.no_grad()
def _log_prob(subject: ModelSubject, model: DensityModel) -> Tensor:
    inputs = subject.inputs(NUM)
    return log_prob(model, inputs, generator(3))


@torch.no_grad()
def _sample(subject: ModelSubject, model: GenerativeModel, seed: int) -> Tensor:
    torch.manual_seed(0)  # so that noise from the global generator shows as an ignored seed
    return draw(subject, model, NUM, generator(seed))


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-6, atol=1e-6, equal_nan=True)


CHECKS = (
    Check(
        name="determinism",
        asks="same seed, same weights, likelihoods and samples; another seed, other samples",
        look_at="noise that is drawn without `generator=generator` (torch.randn, torch.rand, "
        "distributions' sample()), or a generator of your own",
        run=check_determinism,
        needs=("shapes", "likelihood_kind"),
    ),
)
