from __future__ import annotations

import numpy as np
import pytest

from flowbench.contract.checking.statistics import (
    chi_square_excess,
    kolmogorov_smirnov,
    kolmogorov_smirnov_limit,
)


def test_kolmogorov_smirnov_of_known_samples() -> None:
    assert kolmogorov_smirnov(np.array([0.0, 1.0]), np.array([2.0, 3.0])) == 1.0
    assert kolmogorov_smirnov(np.array([0.0, 2.0]), np.array([1.0, 3.0])) == 0.5
    assert kolmogorov_smirnov(np.arange(9.0), np.arange(9.0)) == 0.0


@pytest.mark.parametrize("seed", range(20))
def test_samples_of_one_distribution_stay_below_the_limit(seed: int) -> None:
    a, b = np.random.default_rng(seed).normal(size=(2, 500))
    assert kolmogorov_smirnov(a, b) < kolmogorov_smirnov_limit(500, 500, 64)
    assert kolmogorov_smirnov(a, 2 * b) > kolmogorov_smirnov(a, b)


@pytest.mark.parametrize("seed", range(20))
def test_chi_square_tells_the_right_probabilities_from_wrong_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(40))
    counts = rng.multinomial(4000, probabilities)
    assert abs(chi_square_excess(counts, probabilities)) < 4.5
    assert chi_square_excess(counts, np.roll(probabilities, 1)) > 6.0
