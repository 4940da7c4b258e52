"""Samples by the protocol: values back on the raw scale, given what the protocol says.

Labels follow their training frequencies; other context is that of test examples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
from flowbench.api.specs import LABEL
from flowbench.errors import ContractError, DataError
from flowbench.evaluation.harness import Harness, noise_of


def draw_samples(
    model: GenerativeModel, harness: Harness, num: int, settings: SampleSettings
) -> Samples:
    """Draws samples on the raw scale.

    Args:
        model: The model, in eval mode.
        harness: Where it is measured; its ``progress`` is told how far the drawing is.

    Returns:
        The samples, with what they were given.
    """
    seed, size = harness.settings.seed, harness.settings.batch_size
    # Two sources: which labels are drawn must not depend on how much noise a model takes.
    generator, picks = noise_of(model, "samples", seed), np.random.default_rng(seed)
    raws, contexts, sources, clipped, nonfinite = [], [], [], 0, 0
    info: dict[str, float] = {}
    for start in range(0, num, size):
        size = min(size, num - start)
        with progress_to(_as_part_of_all(harness, start / num, size / num)):
            drawn = draw(model, harness, size, settings, generator, picks)
        # Batch by batch, so that samples in the model's space are not kept beside those of the
        # data.
        restored = harness.preprocessor.inverse(drawn.y)
        raws.append(restored.raw.cpu().numpy())
        contexts.append(drawn.context)
        if drawn.sources is not None:
            sources.append(drawn.sources)
        for name, mean in drawn.info.items():
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
        sources=np.concatenate(sources) if sources else None,
    )


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Samples in the model's space.

    Attributes:
        y: Shape (B, *event_shape).
        context: What they were given, by name.
        sources: Test examples whose context that is, shape (B,); None for labels alone.
        info: Means of what the model says of them.
    """

    y: Tensor
    context: Mapping[str, NDArray[Any]]
    sources: NDArray[np.int64] | None
    info: Mapping[str, float]


@torch.no_grad()
def draw(
    model: GenerativeModel,
    harness: Harness,
    num: int,
    settings: SampleSettings,
    generator: torch.Generator,
    picks: np.random.Generator,
) -> Drawn:
    """Draws samples in the model's space.

    Args:
        model: The model, in eval mode.
        num: Number B of samples.
        generator: Source of the model's noise.
        picks: Source of the choice of examples whose context they get.

    Returns:
        The samples; of data of different lengths, as long as a segment.

    Raises:
        ContractError: The model returned another shape.
    """
    context, sources = _contexts(model, harness, num, picks)
    tensors = {k: torch.from_numpy(v).to(generator.device) for k, v in context.items()}
    options = sampling_options(model.config, settings, model.data)
    with harness.numerics():
        returned = model.sample(num, tensors or None, settings=options, generator=generator)
    y, info = split_info(returned)
    # A shape that broadcasts would go through the preprocessing without a word.
    segments = harness.segments
    shape = model.data.event_shape if segments is None else (*_axes(model), segments.length)
    expected = (num, *shape)
    if tuple(y.shape) != expected:
        raise ContractError(
            f"sample of {type(model).__name__} returned shape {tuple(y.shape)}; expected {expected}"
        )
    means = {name: float(value.double().mean()) for name, value in info.items()}
    return Drawn(y=y, context=context, sources=sources, info=means)


def _axes(model: GenerativeModel) -> tuple[int, ...]:
    """The event shape but for the axis along which lengths differ."""
    return model.data.event_shape[:-1]


def _contexts(
    model: GenerativeModel, harness: Harness, num: int, picks: np.random.Generator
) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64] | None]:
    """What samples are given, and the test examples that it is of, where it is no label.

    Raises:
        DataError: No example is as long as a segment.
    """
    of_labels = set(harness.splits.train.context) <= {LABEL}
    # Labels follow the training frequencies. Other context of training would ask for what the model
    # was trained on.
    split = harness.splits.train if of_labels else harness.splits.test
    segments = harness.segments
    if segments is None:
        rows = picks.integers(len(split), size=num)
        context = {name: values[rows] for name, values in split.context.items()}
        return context, None if of_labels else rows
    starts = segments.num_starts(split.x.lengths)
    long_enough = np.flatnonzero(starts)
    if not len(long_enough):
        raise DataError(
            f"no example of {model.data.name} that samples could follow has the "
            f"{segments.length:,} values of a segment; set training.window"
        )
    rows = long_enough[picks.integers(len(long_enough), size=num)]
    cut = segments.cut(split, rows, segments.grid * picks.integers(starts[rows]))
    return dict(cut.context), None if of_labels else rows


def _as_part_of_all(harness: Harness, before: float, share: float) -> Callable[[float], None]:
    """Passes on how much of a batch is drawn, as a part of all samples."""

    def report(part: float) -> None:
        harness.tick()
        harness.progress("sampling", before + part * share)

    report(0.0)
    return report
