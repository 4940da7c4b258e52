"""The compiled form of a model's loss."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch._dynamo.exc import TorchDynamoException, Unsupported

from flowbench.api.models import Batch, GenerativeModel, Step, WithInfo
from flowbench.errors import TrainingError

Loss = Callable[[Batch, Step], WithInfo]


def compiled_loss(model: GenerativeModel) -> Loss:
    """Compiles a model's loss when it is first called.

    As one graph where the configuration says that it can be; else in parts, and the log says why.

    Returns:
        The loss. Steps must come without a generator, which no graph can take.
    """
    config, name = model.config, type(model).__name__
    if not config.full_graph:
        why = config.full_graph_reason or "its configuration does not say why"
        print(f"the loss of {name} is compiled in parts, not as one graph: {why}", file=sys.stderr)
    # The method and not the module: `forward` is nobody's here, and state stays the module's own.
    compiled: Loss = torch.compile(model.loss, fullgraph=config.full_graph)

    def loss(batch: Batch, step: Step) -> WithInfo:
        try:
            return compiled(batch, step)
        except TorchDynamoException as exc:
            cause = getattr(exc, "inner_exception", exc)  # of the compiler behind torch's own part
            why = next(line for line in (*str(cause).splitlines(), type(cause).__name__) if line)
            remedy = "set training.compile=false"
            if isinstance(exc, Unsupported):  # the model's doing; other failures are the compiler's
                remedy += ", or declare full_graph = False with the reason"
            raise TrainingError(
                f"the loss of {name} cannot be compiled: {why.strip()}; {remedy}"
            ) from exc

    return loss
