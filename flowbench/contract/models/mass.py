"""Probability sums to 1, and samples fall where it lies: on cases small enough to sum it up."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flowbench.api.manifolds import manifold_of, mass_on
from flowbench.api.mass import density_mass
from flowbench.contract.checking.checks import Finding, check, failed, skipped, within
from flowbench.contract.checking.statistics import Mixture, Uniform, chi_square_excess, largest_z
from flowbench.contract.models.small_space import SmallSpace
from flowbench.contract.models.subject import ModelSubject
from flowbench.contract.models.tolerances import STANDARD_ERRORS, same

MASS = 0.003  # a constant that is wrong by 1 % is seen, and rounding and a peak in a cell are not
ROUNDING = 1e-3  # of float32 weights over all states
CELLS = 128, 4096  # fewest and most cells of a partition
POINTS_A_CELL = 9  # that it takes to make one and to integrate over it
FAR_OUT = 3  # times the steps that a solver takes near the data, for a point of a cell
DRAWS = 1_000, 40_000  # fewest and most samples, and points of a sum over real values
INTEGER_DRAWS = 4_000, 200_000  # samples of integers, whose temperature shows less
WEIGHTED = 2  # points a sample: their weights vary
DIRECTIONS = 4
REPEATS = 8  # of noisy estimates, to know their noise
SEED = 17
MANIFOLD_POINTS = 1_000, 10_000  # fewest and most uniform points


@check(
    "normalising constants of the base distribution (they go with the number of dims), a branch "
    "without its ladj, a bound that is declared 'exact', importance weights without their "
    "proposal's density",
    needs=("base", "jacobian", "log_prob", "order", "batch_size", "fresh_points"),
    slow=True,
    cases="mass",
)
def mass(subject: ModelSubject) -> Finding:
    """The density integrates to 1 over the whole space (a bound to at most 1)."""
    space = SmallSpace.of(subject)
    if subject.is_discrete:
        total, noise = _over_states(space)
        slack = ROUNDING + noise
        words = f"over all {len(space.states())} states"
    elif subject.info.manifold is not None:
        manifold = manifold_of(subject.info.manifold)
        num = space.affordable(*MANIFOLD_POINTS)
        found = mass_on(manifold, space.log_probs, np.random.default_rng(SEED), num)
        total, slack = found.value, max(MASS, STANDARD_ERRORS * found.stderr)
        words = f"from {found.num_points:,} points, standard error {found.stderr:.1g}"
    else:
        points_a_cell = POINTS_A_CELL * (FAR_OUT if space.kind.tolerance else 1)
        cells = space.affordable(*CELLS, points_a_cell)
        found = density_mass(space.log_probs, space.points(), np.random.default_rng(SEED), cells)
        total, slack = found.value, max(MASS, STANDARD_ERRORS * found.stderr)
        words = f"from {found.num_points:,} points, standard error {found.stderr:.1g}"
    slack += same(space.kind, 0.0)
    if space.kind.bound and space.is_noisy:
        return within(max(total - 1, 0.0), slack, f"above 1, the mass being {total:.4f} {words}")
    return within(abs(total - 1), slack, f"off 1, the mass being {total:.4f} {words}")


def _over_states(space: SmallSpace) -> tuple[float, float]:
    """The sum of all probabilities, and by how much the noise of estimates may raise it."""
    if space.kind.noise != "estimates" or not space.is_noisy:
        return float(np.exp(space.log_probs(space.states())).sum()), 0.0
    repeated = np.stack([space.log_probs(space.states()) for _ in range(REPEATS)])
    variance = repeated.var(axis=0, ddof=1) / REPEATS
    p = np.exp(repeated.mean(axis=0))
    # Jensen: an exponential of noise is larger by half its variance, on average.
    bias, stderr = float(p @ variance) / 2, math.sqrt(float(p**2 @ variance))
    return float(p.sum()), bias + STANDARD_ERRORS * stderr


@check(
    "sample(): noise that is left out or scaled, another direction of the map, an output rule that "
    "is not that of log_prob",
    needs=("mass", "determinism", "round_trip", "samples", "temperature"),
    slow=True,
    cases="mass",
)
def sampling(subject: ModelSubject) -> Finding:
    """Samples at temperature 1 fall where the density says that they do, as often as it says."""
    space = SmallSpace.of(subject)
    if space.kind.bound and space.kind.noise == "estimates":
        return skipped("a lower bound says nothing of how often a sample is drawn")
    fewest, most, points = (*INTEGER_DRAWS, 0) if subject.is_discrete else (*DRAWS, 1 + WEIGHTED)
    x = space.samples(fewest, most, points)
    if not np.isfinite(x).all():
        return failed("samples hold values that are not finite")
    # A flow that dequantizes has densities beyond the levels, too; its mass tells how often.
    may_miss = space.kind.bound and space.is_noisy
    if subject.is_discrete and not (may_miss or (0 <= x.min() and x.max() < space.levels)):
        return failed(
            f"samples go from {x.min():g} to {x.max():g}; levels are 0 to {space.levels - 1}"
        )
    deviation = (_among_states if subject.is_discrete else _among_points)(space, x)
    if deviation > STANDARD_ERRORS and subject.is_discrete and may_miss:
        # Weights with long tails: then their means differ from one set of draws to the next.
        if _noise_among_states(space, len(x)) > STANDARD_ERRORS:
            return skipped("the likelihood's own noise moves states by more than samples do")
    words = f"standard errors between {len(x):,} samples and the density"
    return within(deviation, STANDARD_ERRORS, words)


def _among_states(space: SmallSpace, x: NDArray[np.float64]) -> float:
    """Counts of the states, and the root of their probability, which a temperature changes most.

    What is missing to a mass of 1 is how often samples fall beyond all states.
    """
    states = space.states()
    log_prob = space.log_probs(states)
    probability = np.exp(log_prob)
    missing = max(1.0 - float(probability.sum()), 0.0)
    inside = ((x >= 0) & (x < space.levels)).all(axis=1)
    x, num_beyond = x[inside], int((~inside).sum())
    keys = space.levels ** np.arange(x.shape[1])
    place = np.argsort(states @ keys)
    found = place[np.searchsorted(states @ keys, x @ keys, sorter=place)]
    counts = np.bincount(found, minlength=len(states))
    root = np.exp(log_prob / 2)
    given_inside = probability / probability.sum()
    mean = float(root @ given_inside)
    spread = math.sqrt(max(float(root**2 @ given_inside) - mean**2, 1e-12) / len(x))
    excess = chi_square_excess(np.append(counts, num_beyond), np.append(probability, missing))
    return max(excess, abs(float(root[found].mean()) - mean) / spread)


def _noise_among_states(space: SmallSpace, num: int) -> float:
    """How far two estimates of the states' probabilities differ, as counts of so many samples."""
    first, second = (np.exp(space.log_probs(space.states())) for _ in range(2))
    return chi_square_excess(np.rint(num * first / first.sum()).astype(np.int64), second)


def _among_points(space: SmallSpace, x: NDArray[np.float64]) -> float:
    """Means over samples, against sums over weighted points of a wider distribution.

    Samples are seen by quartiles along directions, which see what goes from one mode to another,
    and by the root of the density, which a temperature changes most.
    """
    rng = np.random.default_rng(SEED)
    reference = space.subject.info.manifold
    wider: Mixture | Uniform = (
        Mixture.around(space.points(), rng)
        if reference is None
        else Uniform(manifold_of(reference))
    )
    points = wider.draw(WEIGHTED * len(x), rng)
    log_prob = space.log_probs(points)
    weights = np.exp(log_prob - wider.log_prob(points))
    # Of a noisy likelihood the root is one of other draws than the weights are made of.
    root = np.exp((space.log_probs(points) if space.is_noisy else log_prob) / 2)
    directions = rng.standard_normal((x.shape[1], DIRECTIONS))
    along, along_points = x @ directions, points @ directions
    quartiles = np.quantile(along, [0.25, 0.5, 0.75], axis=0)
    of_samples = np.column_stack([*(along > q for q in quartiles), np.exp(space.log_probs(x) / 2)])
    of_points = np.column_stack([*(along_points > q for q in quartiles), root])
    # Less their means over samples, so that weights which vary add little where means agree.
    means = of_samples.mean(axis=0)
    return max(
        largest_z(of_samples - means, weights[:, None] * (of_points - means)),
        largest_z(np.ones((len(x), 1)), weights[:, None]),
    )
