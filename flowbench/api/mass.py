r"""The integral of a density over the whole space, which must be 1.

A map :math:`x_i = m_i + s_i \sinh \tan(w u_i)` takes the cube :math:`(-1, 1)^D` to all of the
space: an axis has as much room for each power of ten as for the next, so that tails heavier than
Cauchy's are still integrated with bounded weights. The cube is halved again and again where the
density is known to vary most, above all around given points; then fresh uniform points of each cell
make an unbiased estimate, with a standard error from their spread within cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flowbench.errors import ContractError, ShapeError

Points = NDArray[np.float64]
LogDensity = Callable[[Points], NDArray[np.floating]]

NUM_CELLS = 8192
DRAWS = 4  # of fresh points in each cell
REACH = 1e6  # spreads of the points, to which the cube reaches: float32 still squares them
WIDEST = math.atan(math.asinh(REACH))
PILOT = 2  # points to become known in each new half of a cell
SHARE = 0.5  # of all that the density may vary lies in the cells that are halved at a time
CARRY = 0.03  # of what a cell varies goes on to its halves, even where few points look alike
FEW = 8  # points that do not tell along which axis a density varies
EVEN = 0.25  # ratio of two axes from which on they do not either


class Mass(NamedTuple):
    """An integral with its standard error.

    Attributes:
        stderr: Its standard error, over the random points; large where the density has peaks that
            the cells did not resolve.
        num_points: How often the density was evaluated.

    Example:
        >>> mass = Mass(1.012, 0.001, 70_000)
        >>> abs(mass.value - 1) > 5 * mass.stderr  # no density
        True
    """

    value: float
    stderr: float
    num_points: int


def density_mass(
    log_prob: LogDensity,
    points: NDArray[np.floating],
    generator: np.random.Generator,
    num_cells: int = NUM_CELLS,
) -> Mass:
    """Integrates a density of few dims over the whole space.

    The estimate is unbiased whatever the density. Its error is small, and known, where ``points``
    show what it is like: give it samples of the model and of the data. Where the density is not a
    number it counts as 0.

    Args:
        log_prob: Log-densities in nats, shape (N,), at points of shape (N, D).
        points: Where the density is expected, shape (N, D): some thousand.
        generator: Source of the random points.
        num_cells: Cells of the last partition; the error falls about as their number grows.

    Returns:
        The integral and its standard error; it is wrong if it is off 1 by more than some errors.

    Raises:
        ShapeError: The points are not rows, or not finite.
        ContractError: The density is infinite somewhere.

    Example:
        >>> def normal(x):
        ...     return -0.5 * (x**2).sum(axis=1) - math.log(2 * math.pi)
        >>> rng = np.random.default_rng(0)
        >>> mass = density_mass(normal, rng.normal(size=(1000, 2)), rng)
        >>> round(mass.value, 2), mass.stderr < 0.002
        (1.0, True)
    """
    around: Points = np.asarray(points, dtype=np.float64)
    if around.ndim != 2 or not around.size or not np.isfinite(around).all():
        raise ShapeError(
            f"points of shape {around.shape} to integrate around; give finite rows (N, D)"
        )
    cube = _Cube(log_prob, around)
    cells = _partition(cube, around, generator, num_cells)
    every = np.arange(len(cells.low))
    cells = cells.fresh(np.repeat(every, DRAWS), cube, generator)
    drawn = cells.density[-DRAWS * len(every) :].reshape(-1, DRAWS)
    value = float(cells.volume() @ drawn.mean(axis=1))
    return Mass(value, cells.error(drawn), cube.num_points)


class _Cube:
    """The density on the cube: that on the space, times the Jacobian of the map."""

    def __init__(self, log_prob: LogDensity, points: Points) -> None:
        self._log_prob, self.num_points = log_prob, 0
        low, self._middle, high = np.quantile(points, [0.25, 0.5, 0.75], axis=0)
        spread = np.where(high > low, high - low, points.std(axis=0))
        self._spread = np.where(spread > 0, spread, 1.0)

    def positions(self, points: Points) -> Points:
        """Where points lie in the cube."""
        y = (points - self._middle) / self._spread
        return np.asarray(np.arctan(np.arcsinh(y)) / WIDEST)

    def density(self, u: Points) -> NDArray[np.float64]:
        """The density at positions in the cube.

        Raises:
            ContractError: It is infinite at one of them.
        """
        a = np.tan(WIDEST * u)
        with np.errstate(over="ignore", invalid="ignore"):
            ladj = np.log(WIDEST * self._spread * np.cosh(a) * (1 + np.square(a))).sum(axis=1)
            log_prob = self._log_prob(self._middle + self._spread * np.sinh(a))
            density: NDArray[np.float64] = np.exp(log_prob + ladj)
        self.num_points += len(u)
        density[np.isnan(density)] = 0.0
        if not np.isfinite(density).all():
            raise ContractError("the log-density is infinite at some points; give finite values")
        return density


class _Cells(NamedTuple):
    """Boxes in the cube, shape (C, D) each corner, and points in them whose density is known.

    Attributes:
        known: Positions, shape (N, D).
        density: Their densities, shape (N,).
        owner: The box that each lies in, shape (N,).
    """

    low: Points
    high: Points
    known: Points
    density: NDArray[np.float64]
    owner: NDArray[np.intp]

    def volume(self) -> NDArray[np.float64]:
        return np.asarray(np.prod(self.high - self.low, axis=1))

    def variation(self) -> NDArray[np.float64]:
        """Volume times what the density is known to vary, of each box: what it may add of error."""
        least, most = np.full(len(self.low), np.inf), np.full(len(self.low), 0.0)
        np.minimum.at(least, self.owner, self.density)
        np.maximum.at(most, self.owner, self.density)
        return np.asarray(self.volume() * np.maximum(most - least, 0.0))

    def error(self, drawn: NDArray[np.float64]) -> float:
        """Standard error of the mean over the last draws, shape (C, DRAWS).

        The larger of two. The spread of the draws alone: where others looked alike by chance a box
        was left whole, so that they tell less spread than there is. And that of all known points:
        one that the draws missed, though a sample lies on it, makes the error large.
        """
        count = np.bincount(self.owner)
        mean = np.bincount(self.owner, self.density) / count
        squares = np.bincount(self.owner, np.square(self.density - mean[self.owner]))
        of_all, of_draws = squares / (count - 1), drawn.var(axis=1, ddof=1)
        variances = np.stack([of_all, of_draws]) @ np.square(self.volume()) / DRAWS
        return math.sqrt(float(variances.max()))

    def fresh(self, boxes: NDArray[np.intp], cube: _Cube, generator: np.random.Generator) -> _Cells:
        """With one more random point known in each of the boxes that are named."""
        low, high = self.low[boxes], self.high[boxes]
        points = low + (high - low) * generator.random(low.shape)
        return self._replace(
            known=np.concatenate([self.known, points]),
            density=np.concatenate([self.density, cube.density(points)]),
            owner=np.concatenate([self.owner, boxes]),
        )

    def _side_to_halve(self) -> NDArray[np.intp]:
        """Of each box the axis along which its mass lies in a much smaller part of the side.

        Where there is none, or too few points are known to tell, that of the longest side.
        """
        side = self.high - self.low
        weight = np.bincount(self.owner, self.density, len(side))[:, None] + np.finfo(float).tiny

        def mean(values: Points) -> Points:
            sums = [np.bincount(self.owner, self.density * v, len(side)) for v in values.T]
            return np.stack(sums, axis=1) / weight

        spread = np.sqrt(mean(np.square(self.known - mean(self.known)[self.owner])))
        share = spread / side
        few = np.bincount(self.owner, minlength=len(side)) < FEW
        even = share.min(axis=1) > EVEN * share.max(axis=1)
        return np.asarray(np.where(few | even, side.argmax(axis=1), share.argmin(axis=1)))

    def halved(self, boxes: NDArray[np.intp]) -> _Cells:
        """With the boxes that are named cut in the middle of a side."""
        rows = np.arange(len(boxes))
        axis = self._side_to_halve()[boxes]
        middle = (self.low + self.high)[boxes, axis] / 2
        low, high = self.low[boxes], self.high.copy()
        low[rows, axis], high[boxes, axis] = middle, middle
        # Of the known points those beyond the middle go over to the upper half, a box of its own.
        cut = np.full(len(self.low), -1)
        cut[boxes] = rows
        row = cut[self.owner]
        beyond = (row >= 0) & (self.known[np.arange(len(row)), axis[row]] > middle[row])
        return self._replace(
            low=np.concatenate([self.low, low]),
            high=np.concatenate([high, self.high[boxes]]),
            owner=np.where(beyond, len(self.low) + row, self.owner),
        )


def _partition(
    cube: _Cube, points: Points, generator: np.random.Generator, num_cells: int
) -> _Cells:
    """Halves the cells that vary most, until there are as many as asked for."""
    known = np.clip(cube.positions(points), -1.0, 1.0)
    corner = np.ones((1, points.shape[1]))
    cells = _Cells(-corner, corner, known, cube.density(known), np.zeros(len(known), dtype=np.intp))
    carried = np.zeros(1)
    while (size := len(cells.low)) < num_cells:
        variation = np.maximum(cells.variation(), carried)
        order = np.argsort(-variation, kind="stable")
        total = np.cumsum(variation[order])
        count = min(int(np.searchsorted(total, SHARE * total[-1])) + 1, num_cells - size)
        boxes = order[:count]
        halves = np.concatenate([boxes, np.arange(size, size + count)])
        carried = np.concatenate([carried, carried[boxes]])
        carried[halves] = CARRY * np.tile(variation[boxes], 2)
        cells = cells.halved(boxes).fresh(np.repeat(halves, PILOT), cube, generator)
    return cells
