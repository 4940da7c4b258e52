"""Probability sums to 1, and samples fall where it lies: on cases small enough to sum it up."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowbench.api.likelihood import Likelihood
from flowbench.api.models import DensityModel
from flowbench.contract.checking.checks import (
    DoesNotApplyError,
    Finding,
    check,
    failed,
    skipped,
    within,
)
from flowbench.contract.checking.statistics import chi_square_excess
from flowbench.contract.models.subject import Inputs, ModelSubject, draw, generator, log_probs

NUM_STEPS, TRAIN_LIMIT_S = 150, 5.0  # so that the density is not that of the initial weights
MASS_TOLERANCE = 0.02  # a wrong constant is off by more; tails beyond the box are not
ROUNDING = 1e-3  # of float32 weights over all states
STANDARD_DEVIATIONS = 6.0  # of the chi-square statistic
MARGIN = 4.0  # standard deviations by which the box exceeds data and samples
CHUNK = 4096  # points of the grid at a time: memory
DRAWS = 16  # of a likelihood with noise, at every point of a grid
MANY_DRAWS = 64  # where their plain mean is taken, or where there are few points
GRID_LIMIT_S = 6.0  # a slow model gets a coarser grid
SIDES = {1: (4096, 512), 2: (192, 48)}  # most and fewest points a side of the grid
NUM_SAMPLES = 4000
CELLS = {1: 32, 2: 8}  # a side, for the samples' histogram
MAX_STATES = 4096  # integer events that are all evaluated


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Cells that cover the space, and the model's probability of each.

    Attributes:
        low: Lower corner, shape (D,).
        high: Upper corner, shape (D,).
        side: Cells along each axis.
        mass: Probabilities, shape (side,) * D.
        error: What a grid of half as many points a side gives otherwise.
    """

    low: Tensor
    high: Tensor
    side: int
    mass: NDArray[np.float64]
    error: float


@check(
    "normalising constants of the base distribution, a bound that is declared 'exact', "
    "importance weights without their proposal's density",
    needs=("training", "likelihood_kind", "log_prob", "jacobian", "order"),
    slow=True,
    cases="mass",
)
def mass(subject: ModelSubject) -> Finding:
    """The density integrates to 1 (a bound to at most 1), by quadrature or over all states."""
    model, kind = _trained(subject)
    if subject.is_discrete:
        states, log_prob = _states(subject, model, kind)
        total, slack, words = float(log_prob.exp().sum()), ROUNDING, f"all {len(states)} states"
    else:
        grid = _grid(subject, model, kind)
        total, slack = float(grid.mass.sum()), MASS_TOLERANCE + 2 * grid.error
        words = f"a grid of {grid.side} points a side"
    if kind.bound and _has_own_noise(subject, model):
        return within(max(total - 1, 0.0), slack, f"above 1, the mass being {total:.4f} ({words})")
    return within(abs(total - 1), slack, f"off 1, the mass being {total:.4f} ({words})")


@check(
    "sample(): noise that is left out or scaled, another direction of the map, an "
    "output rule that is not that of log_prob",
    needs=("mass", "determinism", "round_trip", "samples"),
    slow=True,
    cases="mass",
)
def sampling(subject: ModelSubject) -> Finding:
    """Samples fall into cells as often as the density says, after a little training."""
    model, kind = _trained(subject)
    if kind.bound and kind.noise == "estimates":
        return skipped("a lower bound says nothing of how often a sample is drawn")
    x = _samples(subject, model)
    if not bool(x.isfinite().all()):
        return failed("samples hold values that are not finite")
    if subject.is_discrete:
        states, log_prob = _states(subject, model, kind)
        excess = chi_square_excess(_counted(x.flatten(1), states), log_prob.exp().numpy())
    else:
        excess = chi_square_excess(*_binned(x.flatten(1).double(), _grid(subject, model, kind)))
    words = f"standard deviations of chi-square over {NUM_SAMPLES} samples"
    return within(max(excess, 0.0), STANDARD_DEVIATIONS, words)


def _trained(subject: ModelSubject) -> tuple[DensityModel, Likelihood]:
    """The model, trained once for both checks.

    Raises:
        DoesNotApplyError: The case is too large for sums over all of its space.
    """
    num_dims = subject.info.num_dims
    if not subject.is_discrete and num_dims not in SIDES:
        raise DoesNotApplyError(f"{num_dims} dims are too many for quadrature")
    num_states = (subject.info.levels or 1) ** num_dims
    if subject.is_discrete and num_states > MAX_STATES:
        raise DoesNotApplyError(f"{num_states} states are too many")
    model = subject.once("trained", lambda: subject.trained(NUM_STEPS, TRAIN_LIMIT_S))
    return subject.with_likelihood(model)


def _grid(subject: ModelSubject, model: DensityModel, kind: Likelihood) -> Grid:
    return subject.once("grid", lambda: _integrated(subject, model, kind))


def _samples(subject: ModelSubject, model: DensityModel) -> Tensor:
    return draw(subject, model, NUM_SAMPLES, 7)


@torch.no_grad()
def _has_own_noise(subject: ModelSubject, model: DensityModel) -> bool:
    unconditional = Inputs(x=subject.inputs(4).x, context=None)
    a, b = (log_probs(model, unconditional, seed) for seed in (1, 2))
    return not torch.equal(a, b)


# --- integers: every state ------------------------------------------------------------------------


@torch.no_grad()
def _states(subject: ModelSubject, model: DensityModel, kind: Likelihood) -> tuple[Tensor, Tensor]:
    """All integer events (S, D), and their log-probabilities in float64, (S,)."""
    levels, num_dims = subject.info.levels or 1, subject.info.num_dims
    states = torch.tensor(list(itertools.product(range(levels), repeat=num_dims)))
    draws = MANY_DRAWS if kind.stochastic else 1
    x = states.view(-1, *subject.info.event_shape)
    log_prob = _combined(model.double(), x, kind, draws, generator(0))
    model.float()
    return states, log_prob


def _counted(x: Tensor, states: Tensor) -> NDArray[np.int64]:
    base = int(states.max()) + 1
    weights = torch.tensor([base**i for i in range(states.shape[1])])
    index = {int(key): i for i, key in enumerate((states * weights).sum(dim=1))}
    counts = np.zeros(len(states), dtype=np.int64)
    for key in (x.long() * weights).sum(dim=1).tolist():
        counts[index[key]] += 1
    return counts


# --- real values: quadrature ----------------------------------------------------------------------


def _integrated(subject: ModelSubject, model: DensityModel, kind: Likelihood) -> Grid:
    low, high = _box(subject, model)
    most, fewest = SIDES[subject.info.num_dims]
    draws = MANY_DRAWS if kind.noise == "estimates" and not kind.bound else DRAWS
    draws = draws if kind.stochastic and _has_own_noise(subject, model) else 1
    wide = model.double()
    per_point = _seconds_per_point(wide, subject, draws)
    side = int((GRID_LIMIT_S / per_point) ** (1 / subject.info.num_dims))
    side = max(fewest, min(most, side // 16 * 16))
    mass = _cell_masses(wide, subject, low, high, side, draws)
    half = _cell_masses(wide, subject, low, high, side // 2, draws)
    model.float()
    return Grid(low=low, high=high, side=side, mass=mass, error=abs(float(mass.sum() - half.sum())))


def _box(subject: ModelSubject, model: DensityModel) -> tuple[Tensor, Tensor]:
    """Where the density is looked for: the data and the model's samples, with a wide margin."""
    preprocessor = subject.preprocessor(torch.float64)
    raw = torch.from_numpy(subject.case.splits.train.x)
    y, _ = preprocessor.forward(raw, generator(0))
    drawn = _samples(subject, model)
    drawn = drawn[drawn.flatten(1).isfinite().all(dim=1)]
    lows, highs = [], []
    for values in (y.flatten(1), drawn.flatten(1).double()):
        if len(values):
            margin = MARGIN * values.std(dim=0)
            lows.append(values.amin(dim=0) - margin)
            highs.append(values.amax(dim=0) + margin)
    return torch.stack(lows).amin(dim=0), torch.stack(highs).amax(dim=0)


def _seconds_per_point(model: DensityModel, subject: ModelSubject, draws: int) -> float:
    x = torch.zeros(CHUNK // 4, *subject.info.event_shape, dtype=torch.float64)
    start = time.perf_counter()
    _combined(model, x, subject.kind, draws, generator(0))
    return max((time.perf_counter() - start) / len(x), 1e-9)


def _cell_masses(
    model: DensityModel, subject: ModelSubject, low: Tensor, high: Tensor, side: int, draws: int
) -> NDArray[np.float64]:
    """Midpoint rule on a regular grid."""
    steps = (high - low) / side
    middles = [
        low[i] + steps[i] * (torch.arange(side, dtype=low.dtype) + 0.5) for i in range(len(low))
    ]
    points = torch.cartesian_prod(*middles).view(-1, *subject.info.event_shape)
    noise = generator(1)  # one stream for all chunks, so that their errors are independent
    parts = [
        _combined(model, part, subject.kind, draws, noise) for part in torch.split(points, CHUNK)
    ]
    density = torch.cat(parts).exp() * steps.prod()
    return density.view((side,) * len(low)).numpy()


@torch.no_grad()
def _combined(
    model: DensityModel,
    x: Tensor,
    kind: Likelihood | None,
    draws: int,
    noise: torch.Generator,
) -> Tensor:
    """Log-likelihoods from several draws, as the protocol combines them, shape (B,)."""
    unconditional = Inputs(x=x, context=None)
    drawn = [log_probs(model, unconditional, noise).double() for _ in range(draws)]
    values = torch.stack(drawn)
    if kind is not None and kind.importance_weighted:
        return values.logsumexp(dim=0) - math.log(draws)
    if draws == 1:
        return values[0]
    # exp of a mean with variance v is too large by a factor of e^(v / 2) on average.
    return values.mean(dim=0) - values.var(dim=0) / (2 * draws)


def _binned(x: Tensor, grid: Grid) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Samples and probabilities in coarse cells, and outside of the box."""
    num_dims = x.shape[1]
    cells = CELLS[num_dims]
    fine = grid.side // cells
    edges = [
        np.linspace(float(grid.low[i]), float(grid.high[i]), grid.side + 1)[
            : cells * fine + 1 : fine
        ]
        for i in range(num_dims)
    ]
    counts, _ = np.histogramdd(x.numpy(), bins=edges)
    shape = tuple(size for _ in range(num_dims) for size in (cells, fine))
    mass = grid.mass[(slice(cells * fine),) * num_dims].reshape(shape)
    probabilities = mass.sum(axis=tuple(range(1, 2 * num_dims, 2))).ravel()
    outside = max(1.0 - float(probabilities.sum()), 0.0)
    inside = counts.ravel().astype(np.int64)
    return np.append(inside, len(x) - inside.sum()), np.append(probabilities, outside)
