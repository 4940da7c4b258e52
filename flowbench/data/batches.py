"""Batches of raw examples: an endless shuffled stream for training, one ordered pass otherwise.

The stream is a function of its seed: epoch after epoch has its own permutation, and a batch may
cross from one epoch into the next, so that every batch has the same size and its place in the
stream is two integers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowbench.api.data import Split
from flowbench.errors import ConfigError, DataError

RESIDENT_BYTES = 1 << 30  # splits below 1 GiB are kept on the device as a whole

RawBatch = tuple[Tensor, dict[str, Tensor]]


class TrainBatches:
    """An endless, shuffled, resumable stream of training batches.

    Args:
        split: The training split.
        batch_size: Examples in every batch.
        seed: Seed of the order and of the augmentation.
        device: Where batches are needed.
        augment: Random changes of training examples; ``horizontal_flip`` mirrors the last axis of
            each example with probability one half.

    Raises:
        DataError: The split is empty.
        ConfigError: The batch size or an augmentation does not fit the data.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        seed: int,
        device: torch.device | str,
        augment: Sequence[Literal["horizontal_flip"]] = (),
    ) -> None:
        if not len(split):
            raise DataError("the training split is empty; nothing can be learned from it")
        _check_batch(split, batch_size, augment)
        self._num_examples = len(split)
        self._batch_size = batch_size
        self._seed = seed
        self._device = torch.device(device)
        self._columns = _columns(split, self._device)
        self._flip = "horizontal_flip" in augment
        self._seek(0, 0)

    @property
    def epoch(self) -> int:
        """Passes over the split that are complete."""
        return self._epoch

    @property
    def examples_seen(self) -> int:
        """Examples handed out so far, over all epochs."""
        return self._epoch * self._num_examples + self._position

    def next(self) -> RawBatch:
        """The next batch.

        Returns:
            x, shape (B, *event_shape), raw values in the split's own type (uint8 for up to 256
            levels), and the context tensors by name; all on the device.
        """
        order, flips = self._take()
        x, context = _gather(self._columns, order)
        if flips is not None:
            x = torch.where(flips.view(-1, 1, 1, 1), x.flip(-1), x)
        return x, context

    def state(self) -> dict[str, int]:
        """Where the stream stands.

        Returns:
            Plain integers, for a checkpoint.
        """
        return {"epoch": self._epoch, "position": self._position}

    def load_state(self, state: Mapping[str, int]) -> None:
        """Goes on exactly where another stream of the same split and seed stood.

        Args:
            state: What ``state`` returned.

        Raises:
            DataError: The position lies outside the split.
        """
        if not 0 <= state["position"] < self._num_examples:
            raise DataError(
                f"sampler position {state['position']} lies outside the training split of "
                f"{self._num_examples} examples; the checkpoint belongs to other data"
            )
        self._seek(state["epoch"], state["position"])

    def _seek(self, epoch: int, position: int) -> None:
        self._epoch, self._position = epoch, position
        generator = torch.Generator().manual_seed(_epoch_seed(self._seed, epoch))
        order = torch.randperm(self._num_examples, generator=generator)
        # A gather on the device wants its indices there; one from a memory map wants them here.
        resident = isinstance(self._columns.x, Tensor)
        self._order = order.to(self._device) if resident else order
        self._flips: Tensor | None = None
        if self._flip:
            flips = torch.rand(self._num_examples, generator=generator) < 0.5
            self._flips = flips.to(self._device)

    def _take(self) -> tuple[Tensor, Tensor | None]:
        """Indices and flips of the next batch, over as many epochs as it spans."""
        orders: list[Tensor] = []
        flips: list[Tensor] = []
        missing = self._batch_size
        while missing:
            num = min(missing, self._num_examples - self._position)
            orders.append(self._order.narrow(0, self._position, num))
            if self._flips is not None:
                flips.append(self._flips.narrow(0, self._position, num))
            missing -= num
            self._position += num
            if self._position == self._num_examples:
                self._seek(self._epoch + 1, 0)
        return _joined(orders), _joined(flips) if flips else None


def eval_batches(split: Split, batch_size: int, device: torch.device | str) -> Iterator[RawBatch]:
    """Every example exactly once, in order; the last batch may be short.

    Args:
        split: The split.
        batch_size: Examples in every batch but the last.
        device: Where batches are needed.

    Yields:
        x, shape (B, *event_shape), and the context tensors by name, as `TrainBatches.next` does.

    Raises:
        ConfigError: The batch size is not positive.
    """
    _check_batch(split, batch_size, ())
    for start in range(0, len(split), batch_size):
        stop = start + batch_size
        context = {k: _to_tensor(v[start:stop], device) for k, v in split.context.items()}
        yield _to_tensor(split.x[start:stop], device), context


class _Columns(NamedTuple):
    """The arrays of a split, each a tensor on the device or a memory map."""

    x: Tensor | NDArray[Any]
    context: dict[str, Tensor | NDArray[Any]]
    device: torch.device


def _columns(split: Split, device: torch.device) -> _Columns:
    num_bytes = split.x.nbytes + sum(values.nbytes for values in split.context.values())
    if num_bytes >= RESIDENT_BYTES:
        return _Columns(split.x, dict(split.context), device)
    context: dict[str, Tensor | NDArray[Any]] = {
        name: _to_tensor(values, device) for name, values in split.context.items()
    }
    return _Columns(_to_tensor(split.x, device), context, device)


def _joined(pieces: list[Tensor]) -> Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _gather(columns: _Columns, order: Tensor) -> RawBatch:
    context = {k: _pick(v, order, columns.device) for k, v in columns.context.items()}
    return _pick(columns.x, order, columns.device), context


def _pick(values: Tensor | NDArray[Any], order: Tensor, device: torch.device) -> Tensor:
    if isinstance(values, Tensor):
        return values.index_select(0, order)
    return _to_tensor(values[order.numpy()], device)


def _to_tensor(values: NDArray[Any], device: torch.device | str) -> Tensor:
    """A copy on the device; integers that torch lacks operations for become int32 or int64."""
    if values.dtype.kind == "u" and values.dtype != np.uint8:
        values = values.astype(np.int32 if values.dtype.itemsize == 2 else np.int64)
    native = values.astype(values.dtype.newbyteorder("="))
    return torch.from_numpy(native).to(device)


def _epoch_seed(seed: int, epoch: int) -> int:
    # Mixed by NumPy, so that (seed, epoch) and (seed + 1, epoch - 1) are unrelated streams.
    return int(
        np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0] >> np.uint64(1)
    )


def _check_batch(split: Split, batch_size: int, augment: Sequence[str]) -> None:
    if batch_size < 1:
        raise ConfigError(f"batch size is {batch_size}, expected 1 or more; set batch_size")
    if "horizontal_flip" in augment and split.x.ndim != 4:
        raise ConfigError(
            f"horizontal_flip needs images of shape (C, H, W), examples here have shape "
            f"{split.x.shape[1:]}; leave augment empty"
        )
