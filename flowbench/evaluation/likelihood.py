r"""The likelihood protocol: k draws of all noise -> one log-likelihood an example.

The harness owns it, so that a model cannot choose a kinder one. For each draw and example it runs
the preprocessing and ``log_prob`` anew and adds every ladj. Log-weights :math:`w_j` of a bound are
combined as :math:`\log \frac1k \sum_j e^{w_j}`; unbiased estimates of a log-likelihood (or of a
bound) by their plain mean, since log-mean-exp over estimator noise would overstate it.

References:
    Burda et al. (2016), Importance Weighted Autoencoders, https://arxiv.org/abs/1509.00519, eq. 8.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowbench.api.data import Ragged, Split
from flowbench.api.likelihood import Likelihood
from flowbench.api.metrics import LikelihoodResult
from flowbench.api.models import DensityModel, split_info
from flowbench.api.specs import SplitName
from flowbench.data.batches import eval_batches
from flowbench.data.preprocess import Preprocessor
from flowbench.errors import ShapeError

ResultT = TypeVar("ResultT")


def evaluate_likelihood(
    model: DensityModel,
    preprocessor: Preprocessor,
    split: Split[Any],
    *,
    name: SplitName,
    likelihood: Likelihood,
    draws: int,
    generator: torch.Generator,
    batch_size: int,
    tick: Callable[[float], None] = lambda _: None,
) -> LikelihoodResult:
    """Evaluates every example of a split exactly once for each draw.

    Small batches take several draws in one pass. Where a device's memory runs out, the evaluation
    begins again with half as many rows in a pass, from the same state of the generator, and a
    warning says how many rows fitted: which noise an example gets depends on them.

    Args:
        model: The model, in eval mode.
        likelihood: What the model's ``log_prob`` amounts to.
        draws: Noise draws for each example; a deterministic likelihood takes one.
        generator: Source of all noise, on the model's device.
        batch_size: Rows, examples times draws, of a forward pass at most.
        tick: Told before each pass, and at the end, the part that is done; may raise to stop.

    Returns:
        Log-likelihoods in nats, one an example.

    Raises:
        OutOfMemoryError: A single row does not fit into the device's memory.
    """
    # A deterministic value is the same each time.
    num_draws = draws if likelihood.stochastic else 1
    passes = _Passes(model, preprocessor, generator, likelihood.given, tick)
    log_weights, info = _within_memory(
        lambda rows: passes.log_weights(split, num_draws, rows), generator, batch_size
    )
    elbo = log_weights.mean(axis=1)
    return LikelihoodResult(
        log_prob=log_mean_exp(log_weights) if likelihood.importance_weighted else elbo,
        elbo=elbo,
        draw_stderr=draw_stderr(log_weights, likelihood.importance_weighted),
        likelihood=likelihood.model_copy(update={"draws": num_draws}),
        num_dims=_num_dims(split),
        split=name,
        info=info,
    )


def _num_dims(split: Split[Any]) -> int | NDArray[np.int64]:
    """Raw values in an example, or in each of those that have different lengths."""
    if isinstance(split.x, Ragged):
        return np.asarray(len(split.x.values) * split.x.lengths, dtype=np.int64)
    return int(math.prod(split.x.shape[1:]))


def _within_memory(
    evaluate: Callable[[int], ResultT], generator: torch.Generator, rows: int
) -> ResultT:
    """What an evaluation returns with the most rows in a pass, halved from ``rows``, that fit.

    Raises:
        OutOfMemoryError: A single row does not fit into the device's memory.
    """
    noise, asked = generator.get_state(), rows
    while True:
        try:
            result = evaluate(rows)
        except torch.OutOfMemoryError:
            if rows == 1:
                raise
        else:
            if rows < asked:
                warnings.warn(
                    f"{asked} rows in a pass ran out of the device's memory; likelihoods are from "
                    f"passes of {rows}, with other noise",
                    stacklevel=3,
                )
            return result
        rows = (rows + 1) // 2
        # From the same state: the draws so far belong to passes that are thrown away.
        generator.set_state(noise)


@dataclass(frozen=True)
class _Passes:
    """Forward passes of a model over examples, each with noise of its own."""

    model: DensityModel
    preprocessor: Preprocessor
    generator: torch.Generator
    given: tuple[str, ...]
    tick: Callable[[float], None]

    def log_weights(
        self, split: Split[Any], num_draws: int, rows: int
    ) -> tuple[NDArray[np.float64], dict[str, float]]:
        """Log-weights (N, num_draws) of a split, and the means of what the model says of them.

        A pass counts by its rows: the last ones are smaller than the others.
        """
        log_weights = np.empty((len(split), num_draws))
        info: dict[str, list[tuple[float, int]]] = {}
        done = 0
        for positions, (raw, context) in eval_batches(split, rows, self.generator.device):
            given = {key: context[key] for key in self.given}
            # The last batch may be short, and then takes more draws at a time.
            together = max(1, rows // len(raw))
            for first in range(0, num_draws, together):
                self.tick((done * num_draws + len(raw) * first) / log_weights.size)
                count = min(together, num_draws - first)
                values, extra = self._draws(raw, given, count)
                log_weights[positions, first : first + count] = values
                for key, value in extra.items():
                    info.setdefault(key, []).append((value, len(raw) * count))
            done += len(raw)
        self.tick(1.0)
        return log_weights, {key: _mean_over_rows(noted) for key, noted in info.items()}

    @torch.no_grad()
    def _draws(
        self, raw: Tensor, given: Mapping[str, Tensor], count: int
    ) -> tuple[NDArray[np.float64], Mapping[str, float]]:
        """Some draws for each of B examples, (B, count).

        Raises:
            ShapeError: The model returns anything but one value a row.
        """
        num_rows = len(raw) * count
        context = {key: value.repeat_interleave(count, dim=0) for key, value in given.items()}
        # (B * count, *event_shape): the draws of an example lie side by side.
        x, ladj = self.preprocessor.forward(raw.repeat_interleave(count, dim=0), self.generator)
        returned = self.model.log_prob(x, context or None, generator=self.generator)
        log_prob, info = split_info(returned)
        if log_prob.shape != (num_rows,):
            raise ShapeError(
                f"log_prob of {type(self.model).__name__} returned shape {tuple(log_prob.shape)} "
                f"for a batch of {num_rows}; expected ({num_rows},), summed over event dims"
            )
        # In float64 from here on: a sum of two large numbers of opposite sign is what is left of
        # both.
        total: Any = (log_prob.double() + ladj.double()).cpu().numpy()
        means = {key: float(value.double().mean()) for key, value in info.items()}
        return total.reshape(len(raw), count), means


def _mean_over_rows(noted: Sequence[tuple[float, int]]) -> float:
    values, rows = zip(*noted, strict=True)
    # By rows: passes have different numbers of them.
    return float(np.average(values, weights=rows))


def log_mean_exp(log_weights: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Numerically stable :math:`\log \frac1k \sum_j e^{w_j}` over the last axis.

    Args:
        log_weights: Log-weights, shape (N, k).

    Returns:
        The importance-weighted bound, shape (N,).
    """
    # Not `log(mean(exp))`: an image has log-weights of minus thousands of nats, which underflow.
    result: NDArray[np.float64] = np.logaddexp.reduce(log_weights, axis=1)
    result -= np.log(log_weights.shape[1])
    return result


def draw_stderr(log_weights: NDArray[np.float64], importance_weighted: bool) -> float | None:
    r"""Standard error that the noise draws leave on the mean over examples, in nats.

    That of a mean over draws is :math:`s / \sqrt k`. Log-mean-exp is left to the jackknife:
    from the k values that remain when one draw is left out,
    :math:`\frac{k - 1}{k} \sum_j (v_{-j} - \bar v)^2`. The delta method, which needs weights of
    little spread, is far too small where one weight outweighs all others.

    Args:
        log_weights: Log-weights, shape (N, k).
        importance_weighted: Whether they are combined by log-mean-exp.

    Returns:
        The standard error; None with one draw.

    References:
        Efron and Stein (1981), The jackknife estimate of variance,
        https://doi.org/10.1214/aos/1176345462.
    """
    num_examples, num_draws = log_weights.shape
    if num_draws < 2:
        return None
    if importance_weighted:
        variances = _without_each(log_weights).var(axis=1) * (num_draws - 1)
    else:
        variances = log_weights.var(axis=1, ddof=1) / num_draws
    return float(np.sqrt(variances.sum()) / num_examples)


def _without_each(log_weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-mean-exp of the other draws, (N, k); no digits are lost where one outweighs them."""
    before = np.logaddexp.accumulate(log_weights, axis=1)[:, :-1]
    after = np.logaddexp.accumulate(log_weights[:, ::-1], axis=1)[:, -2::-1]
    without = np.empty_like(log_weights)
    without[:, 0], without[:, -1] = after[:, 0], before[:, -1]
    without[:, 1:-1] = np.logaddexp(before[:, :-1], after[:, 1:])
    without -= np.log(log_weights.shape[1] - 1)
    return without
