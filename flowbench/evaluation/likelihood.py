r"""The likelihood protocol: k draws of all noise -> one log-likelihood an example.

The harness owns it, so that a model cannot choose a kinder one. For each draw and example it runs
the preprocessing and ``log_prob`` anew and adds every ladj. Log-weights :math:`w_j` of a bound are
combined as :math:`\log \frac1k \sum_j e^{w_j}`; unbiased estimates of a log-likelihood (or of a
bound) by their plain mean, since log-mean-exp over estimator noise would overstate it.

References:
    Burda et al. (2016), Importance Weighted Autoencoders, https://arxiv.org/abs/1509.00519, eq. 8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowbench.api.config import Likelihood
from flowbench.api.data import Split
from flowbench.api.metrics import LikelihoodResult
from flowbench.api.models import DensityModel
from flowbench.api.specs import SplitName
from flowbench.data.batches import eval_batches
from flowbench.data.preprocess import Preprocessor
from flowbench.errors import ShapeError


def evaluate_likelihood(
    model: DensityModel,
    preprocessor: Preprocessor,
    split: Split,
    *,
    name: SplitName,
    likelihood: Likelihood,
    draws: int,
    generator: torch.Generator,
    batch_size: int,
    tick: Callable[[], None] = lambda: None,
) -> LikelihoodResult:
    """Evaluates every example of a split exactly once for each draw.

    Args:
        model: The model, in eval mode.
        preprocessor: The harness's preprocessing.
        split: Raw examples.
        name: Which split they are.
        likelihood: What the model's ``log_prob`` amounts to.
        draws: Noise draws for each example; a deterministic likelihood takes one.
        generator: Source of all noise, on the model's device.
        batch_size: Examples in a forward pass.
        tick: Called before each pass; may raise to stop.

    Returns:
        Log-likelihoods in nats, one an example.
    """
    num_draws = draws if likelihood.stochastic else 1
    log_weights = np.empty((len(split), num_draws))
    info: dict[str, list[float]] = {}
    start = 0
    for raw, context in eval_batches(split, batch_size, generator.device):
        given = None if likelihood.given == "none" else _given(context, likelihood.given)
        for draw in range(num_draws):
            tick()
            values, extra = _one_draw(model, preprocessor, raw, given, generator)
            log_weights[start : start + len(raw), draw] = values
            for key, value in extra.items():
                info.setdefault(key, []).append(float(value))
        start += len(raw)
    elbo = log_weights.mean(axis=1)
    return LikelihoodResult(
        log_prob=log_mean_exp(log_weights) if likelihood.importance_weighted else elbo,
        elbo=elbo,
        draw_stderr=draw_stderr(log_weights, likelihood.importance_weighted),
        likelihood=likelihood.model_copy(update={"draws": num_draws}),
        num_dims=model.data.num_dims,
        split=name,
        info={key: float(np.mean(values)) for key, values in info.items()},
    )


def _given(context: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {name: context[name]}


@torch.no_grad()
def _one_draw(
    model: DensityModel,
    preprocessor: Preprocessor,
    raw: Tensor,
    context: Mapping[str, Tensor] | None,
    generator: torch.Generator,
) -> tuple[NDArray[np.float64], Mapping[str, float]]:
    x, ladj = preprocessor.forward(raw, generator)
    density = model.log_prob(x, context, generator=generator)
    if density.values.shape != (len(raw),):
        raise ShapeError(
            f"log_prob of {type(model).__name__} returned shape {tuple(density.values.shape)} "
            f"for a batch of {len(raw)}; expected ({len(raw)},), summed over event dims"
        )
    total: Any = (density.values.double() + ladj.double()).cpu().numpy()
    return total, density.info


def log_mean_exp(log_weights: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Numerically stable :math:`\log \frac1k \sum_j e^{w_j}` over the last axis.

    Args:
        log_weights: Log-weights, shape (N, k).

    Returns:
        The importance-weighted bound, shape (N,).
    """
    result: NDArray[np.float64] = np.logaddexp.reduce(log_weights, axis=1)
    result -= np.log(log_weights.shape[1])
    return result


def draw_stderr(log_weights: NDArray[np.float64], importance_weighted: bool) -> float | None:
    """Standard error that the noise draws leave on the mean over examples, in nats.

    Args:
        log_weights: Log-weights, shape (N, k).
        importance_weighted: Whether they are combined by log-mean-exp; the error is then that of
            the delta method, from the weights relative to their mean.

    Returns:
        The standard error; None with one draw.
    """
    num_examples, num_draws = log_weights.shape
    if num_draws < 2:
        return None
    if importance_weighted:
        relative = np.exp(log_weights - log_mean_exp(log_weights)[:, None])
        variances = relative.var(axis=1, ddof=1)
    else:
        variances = log_weights.var(axis=1, ddof=1)
    return float(np.sqrt(variances.sum() / num_draws) / num_examples)
