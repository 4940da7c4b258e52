r"""Round-trip error: how far :math:`f^{-1}(f(x))` is from x, on test data.

A flow that is not invertible in floating point has neither the likelihood nor the samples that it
claims.

References:
    Behrmann et al. (2021), Understanding and Mitigating Exploding Inverses in Invertible Neural
    Networks, https://arxiv.org/abs/2006.09347.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowbench.api import (
    Context,
    DataSplits,
    InvertibleModel,
    Likelihood,
    MetricSettings,
    MetricValue,
    NotInvertibleError,
    TrainedModel,
)
from flowbench_metrics.per_example import mean_and_stderr
from flowbench_metrics.specs import ROUNDTRIP_ERROR

LARGE = 1e-3  # of the spread of the data


def compute(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> list[MetricValue]:
    """Maps test examples to latents and back, in the model's space.

    Without context, unless the likelihood itself is conditioned on it.

    Args:
        trained: The model.
        data: Gives the test examples.
        settings: ``num_samples`` test examples are taken, ``batch_size`` at a time.

    Returns:
        ``roundtrip_error``, the largest absolute error of any value; ``roundtrip_error_mean``, the
        mean absolute error; ``roundtrip_error_relative``, the median over examples of the
        Euclidean norm of the error over that of the example; ``roundtrip_error_share``, the share
        of examples that come back with an error above `LARGE` times the spread of the data, or not
        finite. A few may be ill-conditioned in floating point; all of them are not.
    """
    model = trained.model
    if not isinstance(model, InvertibleModel):
        reason = f"{type(model).__name__} has no inverse; it needs an InvertibleModel"
        return [MetricValue.unavailable(ROUNDTRIP_ERROR, reason)]
    x = trained.preprocess(data.test.x[: settings.num_samples], seed=settings.seed)
    kind = model.config.likelihood(model.data)
    given = kind.given if isinstance(kind, Likelihood) else ()
    context = {
        name: torch.from_numpy(data.test.context[name][: len(x)]).to(x.device) for name in given
    }
    try:
        restored = _round_trip(model, x, context, settings)
    except NotInvertibleError as exc:
        return [MetricValue.unavailable(ROUNDTRIP_ERROR, f"the inverse failed: {exc}")]
    return _values(x.double().cpu().flatten(1), restored.double().cpu().flatten(1), str(x.dtype))


@torch.no_grad()
def _round_trip(
    model: InvertibleModel, x: Tensor, context: Context, settings: MetricSettings
) -> Tensor:
    generator = torch.Generator(x.device).manual_seed(settings.seed)
    restored = []
    for start in range(0, len(x), settings.batch_size):
        rows = slice(start, start + settings.batch_size)
        given = {name: values[rows] for name, values in context.items()} or None
        aux = model.sample_aux(x[rows], generator=generator)
        latents, _ = model.to_latent(x[rows], given, aux=aux)
        restored.append(model.from_latent(latents, given))
    return torch.cat(restored)


def _values(x: Tensor, restored: Tensor, dtype: str) -> list[MetricValue]:
    error = (restored - x).abs()  # (N, D)
    given: dict[str, Any] = {
        "unit": ROUNDTRIP_ERROR.unit,
        "direction": ROUNDTRIP_ERROR.direction,
        "split": "test",
        "num_examples": len(x),
        "protocol": {"space": "model", "dtype": dtype.removeprefix("torch.")},
    }
    worst = error.amax(dim=1).nan_to_num(nan=math.inf)
    spread = (x - x.mean(dim=0)).square().mean().sqrt()  # of a value
    share, share_stderr = mean_and_stderr((worst > LARGE * spread).double().numpy())
    large = replace(
        MetricValue(name="roundtrip_error_share", value=share, stderr=share_stderr, **given),
        unit="share",
    )
    num_bad = int((~error.isfinite().all(dim=1)).sum())
    if num_bad:
        reason = f"{num_bad} of {len(x)} test examples come back with values that are not finite"
        return [
            MetricValue(
                name=ROUNDTRIP_ERROR.name, value=None, status="failed", reason=reason, **given
            ),
            large,
        ]
    relative = (restored - x).norm(dim=1) / x.norm(dim=1).clamp_min(torch.finfo(x.dtype).tiny)
    mean, stderr = mean_and_stderr(error.mean(dim=1).numpy())
    return [
        MetricValue(name=ROUNDTRIP_ERROR.name, value=float(error.max()), **given),
        MetricValue(name="roundtrip_error_mean", value=mean, stderr=stderr, **given),
        MetricValue(name="roundtrip_error_relative", value=float(np.median(relative)), **given),
        large,
    ]
