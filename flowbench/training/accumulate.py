"""A step's batch in parts, one after the other, where it does not fit in memory at once."""

from __future__ import annotations

from dataclasses import replace

from torch.nn.modules.batchnorm import _BatchNorm

from flowbench.api.models import Batch, GenerativeModel


def parts_of(batch: Batch, num: int) -> list[Batch]:
    """Cuts a batch into equal parts.

    Args:
        num: How many; it divides the batch.
    """
    if num == 1:
        return [batch]
    context = {name: values.chunk(num) for name, values in batch.context.items()}
    return [
        replace(batch, x=x, context={name: values[index] for name, values in context.items()})
        for index, x in enumerate(batch.x.chunk(num))
    ]


def whole_batch(model: GenerativeModel) -> str | None:
    """Why the gradient of a batch is not the mean of its parts' gradients.

    Returns:
        The reason; None where each example counts by itself.
    """
    if (coupled := model.config.whole_batch) is not None:
        return coupled
    if model.config.training.graph:
        return "training.graph records a step of all of it"
    for name, module in model.named_modules():
        # By what torch's own and all of ours derive from.
        if isinstance(module, _BatchNorm):
            return f"{type(module).__name__} ({name}) normalises by the statistics of its batch"
    return None
