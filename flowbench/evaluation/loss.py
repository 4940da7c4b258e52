"""The training loss of held-out examples, for choosing among weights of one model."""

from __future__ import annotations

import math
from typing import Any

import torch

from flowbench.api.data import Split
from flowbench.api.models import Batch, GenerativeModel, Step, split_info
from flowbench.data.batches import eval_batches
from flowbench.data.preprocess import Preprocessor
from flowbench.data.target import TargetDensity


@torch.no_grad()
def mean_loss(
    model: GenerativeModel,
    preprocessor: Preprocessor,
    split: Split[Any],
    *,
    target: TargetDensity | None,
    generator: torch.Generator,
) -> float:
    """Mean loss over examples, as it is at the end of training.

    Args:
        model: The model, in eval mode, with one optimizer group.
        split: Raw examples of one length.
        target: What models are fitted to; None for data.
        generator: Source of all noise, on the model's device.

    Returns:
        The mean, each example counted once; infinite where it is not finite.
    """
    training, device = model.config.training, generator.device
    (group,) = model.optimizer_groups()
    step = Step(
        progress=torch.ones((), device=device),
        phase=len(training.phases) - 1,
        group=group,
        generator=generator,
        seed=0,
    )
    total = 0.0
    # In batches as they are trained on: a loss may depend on how many examples come together.
    for _, (raw, context) in eval_batches(split, training.batch_size, device):
        x, _ = preprocessor.forward(raw, generator)
        loss, _ = split_info(model.loss(Batch(x=x, context=context, log_density=target), step))
        total += float(loss) * len(raw)
    mean = total / len(split) if len(split) else math.inf
    return mean if math.isfinite(mean) else math.inf
