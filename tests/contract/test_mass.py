"""Samples against the probabilities of all states, of a flow that reaches beyond its levels."""

from __future__ import annotations

import itertools
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from flowbench.contract.models.mass import _among_states, _noise_among_states
from flowbench.contract.models.small_space import SmallSpace
from flowbench.contract.models.tolerances import STANDARD_ERRORS

NUM = 20_000
PROBABILITIES = np.array([0.4, 0.1, 0.25, 0.15])  # of (0, 0), (0, 1), (1, 0), (1, 1)


class _Space:
    levels = 2

    def __init__(self, noise: float) -> None:
        self.noise = noise
        self.rng = np.random.default_rng(0)

    def states(self) -> NDArray[np.int64]:
        return np.array(list(itertools.product(range(2), repeat=2)))

    def log_probs(self, points: NDArray[Any]) -> NDArray[np.float64]:
        assert len(points) == len(PROBABILITIES)
        values: NDArray[np.float64] = np.log(PROBABILITIES)
        return values + self.noise * self.rng.standard_normal(len(points))


def _space(noise: float = 0.0) -> SmallSpace:
    return cast(SmallSpace, _Space(noise))


def _samples(num_beyond: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(1)
    inside = rng.choice(4, size=NUM - num_beyond, p=PROBABILITIES / PROBABILITIES.sum())
    return np.concatenate((_space().states()[inside].astype(float), np.full((num_beyond, 2), -1.0)))


def test_samples_beyond_the_levels_count_as_what_the_mass_lacks() -> None:
    assert _among_states(_space(), _samples(NUM // 10)) < STANDARD_ERRORS


def test_too_many_or_too_few_samples_beyond_the_levels_are_seen() -> None:
    assert _among_states(_space(), _samples(0)) > STANDARD_ERRORS
    assert _among_states(_space(), _samples(NUM // 5)) > STANDARD_ERRORS


def test_other_samples_within_the_levels_are_seen() -> None:
    assert _among_states(_space(), 1.0 - _samples(0)) > STANDARD_ERRORS


def test_noise_of_the_likelihood_is_told_from_that_of_samples() -> None:
    assert _noise_among_states(_space(), NUM) < STANDARD_ERRORS
    assert _noise_among_states(_space(0.003), NUM) < STANDARD_ERRORS
    assert _noise_among_states(_space(0.2), NUM) > STANDARD_ERRORS
