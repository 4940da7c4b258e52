"""Draws of noisy likelihoods, of which many go through a model at a time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Literal, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from flowbench.api.likelihood import Likelihood
from flowbench.contract.models.small_space import MANY, ROWS, SmallSpace
from flowbench.contract.models.subject import Inputs, ModelSubject, generator

POINTS = np.arange(300)[:, None] % 100  # two chunks, the second of which is short


class _Noisy:
    """Log-weights that tell of their points; it notes how many come at a time."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.rows: list[int] = []

    def log_prob(self, x: Tensor, context: None, *, generator: torch.Generator) -> Tensor:
        self.rows.append(len(x))
        values = x.flatten(1).sum(dim=1).to(self.dtype)
        return values + 0.1 * torch.randn(len(x), generator=generator).to(self.dtype)


def _space(noise: Literal["weights", "estimates"]) -> tuple[SmallSpace, _Noisy, _Noisy]:
    shown = Inputs(x=torch.zeros(4, 1), context=None)
    info = SimpleNamespace(event_shape=(1,), num_dims=1, levels=100)
    subject = SimpleNamespace(info=info, is_discrete=True, inputs=lambda num: shown)
    narrow, wide = _Noisy(torch.float32), _Noisy(torch.float64)
    space = SmallSpace(
        subject=cast(ModelSubject, subject),
        model=cast(Any, narrow),
        wide=cast(Any, wide),
        kind=Likelihood(measure="discrete", noise=noise, bound=True),
        noise=generator(1),
    )
    return space, narrow, wide


@pytest.mark.parametrize("noise", ["weights", "estimates"])
def test_draws_are_combined_for_the_point_that_they_are_of(
    noise: Literal["weights", "estimates"],
) -> None:
    space, _, _ = _space(noise)
    # Six standard errors of a mean of draws, and the half variance that weights add.
    bound = 6 * 0.1 / MANY**0.5 + 0.1**2 / 2
    np.testing.assert_allclose(space.log_probs(POINTS), POINTS[:, 0], atol=bound)


def test_every_point_gets_all_its_draws_in_few_passes() -> None:
    space, narrow, wide = _space("weights")
    space.log_probs(POINTS)
    assert sum(wide.rows) == MANY * len(POINTS)
    assert max(wide.rows) <= ROWS
    assert len(wide.rows) < MANY
    assert sum(narrow.rows) == 2 * 4  # which tell whether there is noise


def test_rough_estimates_are_taken_as_the_model_gives_them() -> None:
    space, narrow, wide = _space("estimates")
    space.log_probs(POINTS)
    assert sum(narrow.rows) == 2 * 4 + MANY * len(POINTS)
    assert not wide.rows
