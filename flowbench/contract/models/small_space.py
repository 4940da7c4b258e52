"""A trained model on a case so small that its density can be summed up over all of the space."""

from __future__ import annotations

import copy
import itertools
import math
import time
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowbench.api.likelihood import Likelihood
from flowbench.api.models import DensityModel
from flowbench.contract.checking.checks import DoesNotApplyError
from flowbench.contract.models.subject import Inputs, ModelSubject, draw, generator, log_probs

MAX_DIMS = 6
MAX_STATES = 4096  # integer events that are all evaluated
CHUNK = 256  # points at a time
ROWS = 1024  # points times draws at a time, as in the harness's own passes
WEIGHTS, ESTIMATES, MANY = 4, 16, 64  # draws of a likelihood with noise, at every point
LIMIT_S = 1.0  # for one sum: a slow model gets fewer points
NUM_TIMED = CHUNK
SHOWN = 512, 2048  # fewest and most samples that show where the density is
PILOT_SEED, SAMPLE_SEED = 6, 7


@dataclass(frozen=True, kw_only=True)
class SmallSpace:
    """The density of a model, in float64, without what it is conditioned on.

    Attributes:
        model: As it was trained; it draws the samples.
        wide: The same in float64; it gives the densities, but for rough estimates.
        noise: One stream for all densities, so that their errors are independent.
    """

    subject: ModelSubject
    model: DensityModel
    wide: DensityModel
    kind: Likelihood
    noise: torch.Generator

    @classmethod
    def of(cls, subject: ModelSubject) -> SmallSpace:
        """The space of a case, with a model that is trained once.

        Raises:
            DoesNotApplyError: The case is too large, or the density is one given something.
        """
        num_dims, levels = subject.info.num_dims, subject.info.levels or 1
        if subject.is_discrete and levels**num_dims > MAX_STATES:
            raise DoesNotApplyError(f"{levels**num_dims} states are too many to sum over")
        if not subject.is_discrete and num_dims > MAX_DIMS:
            raise DoesNotApplyError(f"{num_dims} dims are too many to integrate over")
        model, kind = subject.with_likelihood(subject.trained())
        if kind.given:
            raise DoesNotApplyError(f"the density is one given {', '.join(kind.given)}")
        return subject.once(
            "space",
            lambda: cls(
                subject=subject,
                model=model,
                wide=copy.deepcopy(model).double(),
                kind=kind,
                noise=generator(1),
            ),
        )

    @property
    def levels(self) -> int:
        """Number of values that an integer takes."""
        return self.subject.info.levels or 1

    @cached_property
    def is_noisy(self) -> bool:
        """Whether log_prob itself draws noise, beside that of the preprocessing."""
        some = Inputs(x=self.subject.inputs(4).x, context=None)
        a, b = (log_probs(self.model, some, seed) for seed in (1, 2))
        return not torch.equal(a, b)

    @cached_property
    def _draws(self) -> int:
        if not (self.kind.stochastic and self.is_noisy):
            return 1
        if self.subject.is_discrete:
            return MANY
        if self.kind.importance_weighted:
            return WEIGHTS  # sums of them are right with any number
        return ESTIMATES if self.kind.bound else MANY

    def states(self) -> NDArray[np.int64]:
        """All integer events, shape (S, D)."""
        num_dims = self.subject.info.num_dims
        return np.array(list(itertools.product(range(self.levels), repeat=num_dims)))

    def log_probs(self, points: NDArray[np.generic]) -> NDArray[np.float64]:
        """Log-likelihoods of points (N, D), as the protocol combines them.

        Far out, where a density is not a number, it counts as 0.
        """
        x = torch.from_numpy(points).view(-1, *self.subject.info.event_shape)
        # From near to far: a solver takes the steps of a batch's hardest point for all of it.
        order = x.flatten(1).double().norm(dim=1).argsort()
        found = torch.cat([self._combined(part) for part in torch.split(x[order], CHUNK)])
        values = torch.empty_like(found).index_copy_(0, order, found)
        return values.nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf).numpy()

    @cached_property
    def _giver(self) -> DensityModel:
        # Estimates of integers have far more noise than rounding: float64 shows nothing more.
        is_rough = self.subject.is_discrete and self.kind.noise == "estimates" and self.is_noisy
        return self.model if is_rough else self.wide

    def _combined(self, x: Tensor) -> Tensor:
        together = min(self._draws, max(1, ROWS // len(x)))
        passes = []
        for first in range(0, self._draws, together):
            count = min(together, self._draws - first)
            inputs = Inputs(x=x.repeat_interleave(count, dim=0), context=None)
            drawn = log_probs(self._giver, inputs, self.noise).double()
            passes.append(drawn.view(len(x), count).T)
        values = torch.cat(passes)  # (draws, B)
        if self.kind.importance_weighted:
            return values.logsumexp(dim=0) - math.log(self._draws)
        if self._draws == 1:
            return values[0]
        # exp of a mean with variance v is too large by a factor of e^(v / 2) on average.
        return values.mean(dim=0) - values.var(dim=0) / (2 * self._draws)

    def affordable(self, fewest: int, most: int, points: int = 1) -> int:
        """How many things there is time for, of which each takes some points."""
        per_thing = points * self._seconds_per_point
        return max(fewest, min(most, int(LIMIT_S / per_thing)))

    @cached_property
    def _seconds_per_point(self) -> float:
        # Where the density is: at 0, a solver may take fewer steps and an iteration fewer turns.
        shown = self.states() if self.subject.is_discrete else self._training_points()
        some = np.resize(shown, (NUM_TIMED, self.subject.info.num_dims))
        start = time.process_time()
        self.log_probs(some)
        return max((time.process_time() - start) / NUM_TIMED, 1e-9)

    def samples(self, fewest: int, most: int, points: int) -> NDArray[np.float64]:
        """Samples (N, D), as many of them as there is time for, and for some points with each."""
        start = time.process_time()
        first = draw(self.subject, self.model, fewest, PILOT_SEED)
        seconds = time.process_time() - start + fewest * points * self._seconds_per_point
        more = min(most, int(fewest * LIMIT_S / max(seconds, 1e-9))) - fewest
        rest = [draw(self.subject, self.model, more, SAMPLE_SEED)] if more > 0 else []
        flat: NDArray[np.float64] = torch.cat([first, *rest]).flatten(1).double().numpy()
        return flat

    def points(self) -> NDArray[np.float64]:
        """Where the density is expected, (N, D): the training data and the model's samples."""
        num = self.affordable(*SHOWN)
        drawn = draw(self.subject, self.model, num, PILOT_SEED).flatten(1).double().numpy()
        both: NDArray[np.float64] = np.concatenate([self._training_points(), drawn])
        return both[np.isfinite(both).all(axis=1)]

    def _training_points(self) -> NDArray[np.float64]:
        preprocessor = self.subject.preprocessor(torch.float64)
        raw = torch.from_numpy(self.subject.case.splits.train.x)
        y, _ = preprocessor.forward(raw, generator(0))
        points: NDArray[np.float64] = y.double().flatten(1).numpy()
        return points
