"""Makes what a model estimates from data fit the weights that are to be scored or kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from flowbench.api.models import Batch, GenerativeModel
from flowbench.data.batches import TrainBatches
from flowbench.data.preprocess import Preprocessor
from flowbench.errors import ContractError
from flowbench.training.device import Device

NUM_BATCHES = 20  # of training examples, always the same ones


class Refit:
    """Calls `GenerativeModel.refit` on the same training batches each time.

    The batches are of a stream and a generator of their own: whether and how often weights are
    scored moves no noise of the training.

    Args:
        preprocessor: The harness's preprocessing, fitted.
        stream: Makes the stream of raw training batches of a seed.
    """

    def __init__(
        self, preprocessor: Preprocessor, stream: Callable[[int], TrainBatches], device: Device
    ) -> None:
        self._preprocessor, self._stream, self._device = preprocessor, stream, device
        self._batches: list[Batch] = []
        self._more = self._endless()
        self._num = NUM_BATCHES

    def __call__(self, model: GenerativeModel, part: float = 1.0) -> None:
        """Refits a model, without gradients and in true float32.

        Args:
            model: The model; its parameters must stay as they are.
            part: Part of the batches to do it with.

        Raises:
            ContractError: A parameter changed.
        """
        if _has_nothing_to_refit(model):
            return
        # Trusted to nobody: a refit that trains on would be training that no budget is charged.
        self._num = math.ceil(part * NUM_BATCHES)
        before = _fingerprint(model)
        with torch.no_grad(), self._device.numerics("float32"):
            model.refit(self, generator=self._device.generator(0))
        changed = _changed(before, _fingerprint(model))
        if changed is not None:
            raise ContractError(
                f"refit of {type(model).__name__} changed the parameter {changed!r}; it may change "
                "buffers alone"
            )

    @contextmanager
    def while_scored(self, model: GenerativeModel, part: float) -> Iterator[None]:
        """Refits a model within a block; then its buffers are what training had made of them."""
        # Training goes on with the buffers that it made itself, whether or not anybody looked.
        kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
        try:
            self(model, part)
            yield
        finally:
            with torch.no_grad():
                for name, buffer in model.named_buffers():
                    buffer.copy_(kept[name])

    def __iter__(self) -> Iterator[Batch]:
        """The batches; they are preprocessed when a model first asks for them, which few do."""
        while len(self._batches) < self._num:
            self._batches.append(next(self._more))
        return iter(self._batches[: self._num])

    def _endless(self) -> Iterator[Batch]:
        generator, stream = self._device.generator(0), self._stream(0)
        while True:
            raw, context = stream.next()
            x, _ = self._preprocessor.forward(raw, generator)
            yield Batch(x=x, context=context)


def _has_nothing_to_refit(model: GenerativeModel) -> bool:
    """Whether the refit is our own, and finds no statistics."""
    return type(model).refit is GenerativeModel.refit and not any(
        isinstance(module, _BatchNorm) for module in model.modules()
    )


def _fingerprint(model: GenerativeModel) -> dict[str, tuple[int, Tensor]]:
    """What changes with a parameter, without a copy of it: torch's count of writes, and its norm.

    The count misses what is written to ``.data``, the norm misses what is only reordered.
    """
    with torch.no_grad():
        return {
            name: (parameter._version, torch.linalg.vector_norm(parameter.float()))
            for name, parameter in model.named_parameters()
        }


def _changed(
    before: dict[str, tuple[int, Tensor]], after: dict[str, tuple[int, Tensor]]
) -> str | None:
    """Name of a parameter that is not what it was; None if all are."""
    # A parameter may come or go as well, by a layer that is put in or replaced.
    if before.keys() != after.keys():
        return sorted(before.keys() ^ after.keys())[0]
    if not before:
        return None
    for name, (version, _) in before.items():
        if after[name][0] != version:
            return name
    # Compared on the device, all at once: a wait for each parameter adds up over looks.
    norms = [torch.stack([norm for _, norm in facts.values()]) for facts in (before, after)]
    same = (norms[0] == norms[1]) | (norms[0].isnan() & norms[1].isnan())
    return None if bool(same.all()) else list(before)[int(same.logical_not().nonzero()[0])]
