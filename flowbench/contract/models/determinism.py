"""The same seed gives the same result, another seed another."""

from __future__ import annotations

import torch
from torch import Tensor

from flowbench.api.models import GenerativeModel
from flowbench.contract.checking.checks import Finding, check, failed, passed
from flowbench.contract.models.subject import ModelSubject, outputs
from flowbench.training.seeds import seed_globals

NUM = 8


@check(
    "noise that is drawn without `generator=generator` (torch.randn, torch.rand, "
    "distributions' sample(), np.random), a generator of your own, or what is kept from one call "
    "to the next as a plain attribute",
    needs=("shapes", "likelihood_kind"),
)
def determinism(subject: ModelSubject) -> Finding:
    """Same seed, same weights, likelihoods and samples; another seed, other samples."""
    first, second = subject.build_anew(1), subject.build_anew(1)
    others = second.state_dict()
    for name, value in first.state_dict().items():
        if not _equal(value, others[name]):
            return failed(
                f"two builds under one seed differ in {name!r}; draw weights with torch, or "
                "from the global generators of NumPy and Python, which are seeded, too"
            )
    # The other call lies between, so that what is kept from one call to the next shows.
    one, other, again = (_outputs(subject, first, seed) for seed in (5, 6, 5))
    for method, values in one.items():
        if not _equal(values, again[method]):
            return failed(f"{method} differs between two calls with generators of one seed")
    if _equal(one["sample"], other["sample"]):
        return failed("sample returns the same values for generators of two seeds")
    return passed("builds, likelihoods and samples follow their seeds")


def _outputs(subject: ModelSubject, model: GenerativeModel, seed: int) -> dict[str, Tensor]:
    seed_globals(0)  # so that noise from a global generator shows as an ignored seed
    return outputs(subject, model, NUM, seed)


def _equal(a: Tensor, b: Tensor) -> bool:
    # Not bit by bit: reductions over threads may add in another order.
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-6, atol=1e-6, equal_nan=True)
