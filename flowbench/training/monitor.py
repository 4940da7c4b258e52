"""What tells of a flow in training that goes wrong before its score does.

At each look, uncharged: whether some training examples come back from their latents, and what each
layer adds to the log-determinant. (The gradient norm is summed up by the loop.)
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from flowbench.api.likelihood import Likelihood
from flowbench.api.models import Batch, GenerativeModel, InvertibleModel

EXAMPLES = 16
SEED = 5  # of augmentation noise: at each look the same
SLOW_S = 0.5  # a look longer than that, of sequential inverses, is not taken again before the end


class Monitor:
    """Watches a flow by the same few examples at every look.

    Args:
        model: The model that is trained; one that is no flow, or None, has nothing to watch.
    """

    def __init__(self, model: GenerativeModel | None) -> None:
        self._model = model if isinstance(model, InvertibleModel) else None
        self._is_slow = False

    def due(self, progress: float) -> bool:
        """Whether there is something to see at this look."""
        return self._model is not None and (not self._is_slow or progress >= 1.0)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> dict[str, float]:
        """Sends examples to their latents and back.

        Args:
            batch: Preprocessed examples; the first `EXAMPLES` are taken.

        Returns:
            ``round_trip``, the mean absolute error; ``round_trip_nonfinite``, the share of
            values that come back as no number; ``log_determinant/<layer>``, means in nats. What a
            model fails to give is left out.
        """
        model, start = self._model, time.perf_counter()
        x = batch.x[:EXAMPLES]
        if model is None or not x.is_floating_point():  # integers come back as they are
            return {}
        kind = model.config.likelihood(model.data)
        given = kind.given if isinstance(kind, Likelihood) else ()
        context = {name: batch.context[name][:EXAMPLES] for name in given} or None
        was_training = model.training
        model.eval()
        try:
            return dict(_seen(model, x, context))
        except Exception:  # whatever a plugin's inverse raises: training goes on without it
            return {}
        finally:
            model.train(was_training)
            self._is_slow = time.perf_counter() - start > SLOW_S


def _seen(
    model: InvertibleModel, x: Tensor, context: Mapping[str, Tensor] | None
) -> Iterator[tuple[str, float]]:
    aux = model.sample_aux(x, generator=torch.Generator(x.device).manual_seed(SEED))
    with _log_determinants(model, len(x)) as of_layers:
        latents, total = model.to_latent(x, context, aux=aux)
    restored = model.from_latent(latents, context)
    error = (restored - x).abs().double()
    yield "round_trip", float(error[error.isfinite()].mean())
    # A curve holds numbers alone: what came back as none would leave no trace in it.
    yield "round_trip_nonfinite", float((~error.isfinite()).double().mean())
    for name, value in of_layers.items():
        yield f"log_determinant/{name}", value
    # What a model adds outside of its layers, such as matrices that it makes all at once.
    rest = float(total.double().mean()) - math.fsum(of_layers.values())
    if not of_layers or abs(rest) > 1e-6:
        yield f"log_determinant/{'rest' if of_layers else 'all'}", rest


@contextmanager
def _log_determinants(model: InvertibleModel, num: int) -> Iterator[dict[str, float]]:
    """Notes the mean of what each innermost part gives as ladj, by its name in the model.

    A part is told by what it returns: tensors, the last of them of shape (B,).
    """
    found: dict[str, float] = {}

    def note(name: str) -> Any:
        def hook(module: object, given: object, returned: object) -> None:
            del module, given
            if not isinstance(returned, tuple) or len(returned) < 2:
                return
            ladj = returned[-1]
            is_part = isinstance(ladj, Tensor) and ladj.shape == (num,)
            # Those within have been called, and noted, before.
            if is_part and not any(inner.startswith(f"{name}.") for inner in found):
                found[name] = found.get(name, 0.0) + float(ladj.double().mean())

        return hook

    hooks = [part.register_forward_hook(note(name)) for name, part in model.named_modules() if name]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
