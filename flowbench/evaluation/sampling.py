"""Samples by the protocol: labels by their training frequencies, values back on the raw scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowbench.api.config import sampling_options
from flowbench.api.metrics import Samples
from flowbench.api.models import GenerativeModel, split_info
from flowbench.api.progress import progress_to
from flowbench.api.protocol import SampleSettings
from flowbench.errors import ContractError
from flowbench.evaluation.harness import Harness, noise_of


def draw_samples(
    model: GenerativeModel, harness: Harness, num: int, settings: SampleSettings
) -> Samples:
    """Draws samples on the raw scale.

    Args:
        model: The model, in eval mode.
        harness: Where it is measured; its ``progress`` is told how far the drawing is.

    Returns:
        The samples; labels, where the data have any, follow the training frequencies.
    """
    seed, size = harness.settings.seed, harness.settings.batch_size
    # Two sources: which labels are drawn must not depend on how much noise a model takes.
    generator, picks = noise_of(model, "samples", seed), np.random.default_rng(seed)
    raws, contexts, clipped, nonfinite = [], [], 0, 0
    info: dict[str, float] = {}
    for start in range(0, num, size):
        size = min(size, num - start)
        with progress_to(_as_part_of_all(harness, start / num, size / num)):
            y, context, means = draw(model, harness, size, settings, generator, picks)
        # Batch by batch, so that samples in the model's space are not kept beside those of the
        # data.
        restored = harness.preprocessor.inverse(y)
        raws.append(restored.raw.cpu().numpy())
        contexts.append(context)
        for name, mean in means.items():
            info[name] = info.get(name, 0.0) + mean * size / num
        clipped += restored.num_clipped
        nonfinite += restored.num_nonfinite
    harness.progress("sampling", 1.0)
    return Samples(
        x=np.concatenate(raws),
        context={k: np.concatenate([c[k] for c in contexts]) for k in contexts[0]},
        num_clipped=clipped,
        num_nonfinite=nonfinite,
        temperature=settings.temperature,
        seed=seed,
        info=info,
    )


@torch.no_grad()
def draw(
    model: GenerativeModel,
    harness: Harness,
    num: int,
    settings: SampleSettings,
    generator: torch.Generator,
    picks: np.random.Generator,
) -> tuple[Tensor, dict[str, NDArray[Any]], dict[str, float]]:
    """Draws samples in the model's space.

    Args:
        model: The model, in eval mode.
        num: Number B of samples.
        generator: Source of the model's noise.
        picks: Source of the choice of training examples whose context they get.

    Returns:
        Samples, shape (B, *event_shape), their context by name, and the means of what the model
        says of them.

    Raises:
        ContractError: The model returned another shape.
    """
    train = harness.splits.train
    rows = picks.integers(len(train), size=num)  # so labels follow the training frequencies
    context = {name: values[rows] for name, values in train.context.items()}
    tensors = {k: torch.from_numpy(v).to(generator.device) for k, v in context.items()}
    options = sampling_options(model.config, settings, model.data)
    with harness.numerics():
        returned = model.sample(num, tensors or None, settings=options, generator=generator)
    y, info = split_info(returned)
    # A shape that broadcasts would go through the preprocessing without a word.
    expected = (num, *model.data.event_shape)
    if tuple(y.shape) != expected:
        raise ContractError(
            f"sample of {type(model).__name__} returned shape {tuple(y.shape)}; expected {expected}"
        )
    return y, context, {name: float(value.double().mean()) for name, value in info.items()}


def _as_part_of_all(harness: Harness, before: float, share: float) -> Callable[[float], None]:
    """Passes on how much of a batch is drawn, as a part of all samples."""

    def report(part: float) -> None:
        harness.tick()
        harness.progress("sampling", before + part * share)

    report(0.0)
    return report
