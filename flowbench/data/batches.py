"""Batches of raw examples: an endless shuffled stream for training, one ordered pass otherwise.

The stream is a function of its seed: epoch after epoch has its own permutation, and a batch may
cross from one epoch into the next, so that every batch has the same size and its place in the
stream is two integers. Of examples of different lengths a stream has segments, and a pass has them
whole, together with others of just their length: nothing is padded.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowbench.api.data import Ragged, Split
from flowbench.api.training import Augmentation
from flowbench.data.augment import augmented, num_draws
from flowbench.data.rows import ScatteredRows, take_rows, tensor_dtype
from flowbench.data.segments import Segments
from flowbench.errors import ConfigError, DataError

RESIDENT_BYTES = 1 << 30  # splits below 1 GiB are kept in memory as a whole
NUM_READERS = 3  # threads that gather batches of larger ones for a GPU
NUM_AHEAD = 4  # batches that lie ready, or are being gathered

RawBatch = tuple[Tensor, dict[str, Tensor]]


class TrainBatches:
    """An endless, shuffled, resumable stream of training batches.

    Args:
        seed: Seed of the order and of the augmentation.
        device: Where batches are needed.
        augment: Random changes of training examples; see `flowbench.data.augment`.
        prefetch: Gather the batches of a split that is too large to be kept on the device in
            background threads; by default for a GPU, which computes meanwhile.
        room: Bytes of examples that may be kept on the device.
        segments: How examples of different lengths are cut; None for those of one length. Each
            comes once in an epoch, by a segment at random; those shorter than it never do.

    Attributes:
        batch_size: Examples in every batch.
        num_too_short: Examples that are shorter than a segment.

    Raises:
        DataError: The split is empty, or has no example that is long enough.
        ConfigError: The batch size or an augmentation does not fit the data.
    """

    def __init__(
        self,
        split: Split[Any],
        batch_size: int,
        seed: int,
        device: torch.device | str,
        augment: Sequence[Augmentation] = (),
        prefetch: bool | None = None,
        room: int | None = None,
        segments: Segments | None = None,
    ) -> None:
        if not len(split):
            # Here and not in the stream, which would go through epochs of nothing for ever.
            raise DataError("the training split is empty; nothing can be learned from it")
        _check_batch(split, batch_size, augment)
        self.batch_size = batch_size
        self._device = torch.device(device)
        num_bytes = split.x.nbytes + sum(values.nbytes for values in split.context.values())
        # A gather on the device wants its indices there; one from a memory map wants them here.
        resident = num_bytes < (RESIDENT_BYTES if room is None else room)
        self._augment = tuple(augment)
        self._rows: _Rows
        if segments is not None:
            resident = False  # a slice a clip: the host's memory, or the disk's, is fast enough
            self._rows = _Cut(split, segments, self._device)
        elif resident:
            self._rows = _Resident(split, self._device)
        else:
            self._rows = _Mapped(split, self._device)
        self._gathered_on = self._device if resident else torch.device("cpu")
        self._num_examples = self._rows.num
        self.num_too_short = len(split) - self._num_examples
        wanted = self._device.type == "cuda" if prefetch is None else prefetch
        self._readers = ThreadPoolExecutor(NUM_READERS) if wanted and not resident else None
        self._part: Callable[[Tensor], Tensor] | None = None
        self._begin(seed)

    def of_seed(self, seed: int) -> TrainBatches:
        """Another stream, from its beginning, over the same examples in the same place."""
        other = copy.copy(self)
        other._begin(seed)
        return other

    def of_part(self, part: Callable[[Tensor], Tensor]) -> TrainBatches:
        """The same stream, which goes through whole batches and gives a part of each.

        Args:
            part: Takes rows of that part, in the order of the batch, from as many as a batch has.
        """
        other = copy.copy(self)
        other._part = part
        return other

    def _begin(self, seed: int) -> None:
        draws = num_draws(self._augment) + self._rows.num_draws
        self._order = _Order(self._num_examples, seed, self._gathered_on, draws)
        self._given = self._order.cursor
        # Handed out in the order in which they were asked for, whichever reader is done first.
        self._ahead: deque[_Ahead] = deque()

    @property
    def epoch(self) -> int:
        """Passes over the split that are complete."""
        return self._given.epoch

    @property
    def examples_seen(self) -> int:
        """Examples handed out so far, over all epochs."""
        return self._given.epoch * self._num_examples + self._given.position

    def next(self) -> RawBatch:
        """The next batch.

        Returns:
            x, shape (B, *event_shape), raw values in the split's own type (uint8 for up to 256
            levels), and the context tensors by name; all on the device.
        """
        if self._readers is None:
            rows, draws = self._take()
            self._given = self._order.cursor
            x, context = self._rows.gather(rows, draws)
        else:
            (x, context), draws = self._next_prefetched(self._readers)
        # Page-locked memory, see `_Mapped`, lets this copy run beside the computation.
        if x.device != self._device:
            x = x.to(self._device, non_blocking=True)
            context = {k: v.to(self._device, non_blocking=True) for k, v in context.items()}
        if draws is not None and self._augment:
            # After the copy, so that the device that computes faster does it.
            x = augmented(x, draws.to(x.device, non_blocking=True), self._augment)
        return x, context

    def _next_prefetched(self, readers: ThreadPoolExecutor) -> tuple[RawBatch, Tensor | None]:
        # Filled before one is taken, or the readers would rest while the batch is waited for.
        while len(self._ahead) <= NUM_AHEAD:
            rows, draws = self._take()
            batch = readers.submit(self._rows.gather, rows, draws)
            self._ahead.append(_Ahead(batch, draws, self._order.cursor))
        ready = self._ahead.popleft()
        self._given = ready.cursor  # a checkpoint knows what was handed out, not what lies ready
        return ready.batch.result(), ready.draws

    def _take(self) -> tuple[Tensor, Tensor | None]:
        rows, draws = self._order.take(self.batch_size)
        if self._part is None:
            return rows, draws
        return self._part(rows), None if draws is None else self._part(draws)

    def state(self) -> dict[str, int]:
        """Where the stream stands.

        Returns:
            Plain integers, for a checkpoint.
        """
        return {"epoch": self._given.epoch, "position": self._given.position}

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
        # What lies ready belongs to the place that is left.
        self._ahead.clear()
        self._order.seek(_Cursor(state["epoch"], state["position"]))
        self._given = self._order.cursor


def eval_batches(
    split: Split[Any], batch_size: int, device: torch.device | str
) -> Iterator[tuple[NDArray[np.int64], RawBatch]]:
    """Every example exactly once, in order; the last batch may be short.

    Of examples of different lengths a batch holds some of one length, the shortest first.

    Args:
        batch_size: Examples in every batch but the last.
        device: Where batches are needed.

    Yields:
        Positions in the split, shape (B,); then x, shape (B, *event_shape), and the context tensors
        by name, as `TrainBatches.next` does.

    Raises:
        ConfigError: The batch size is not positive.
    """
    # Evaluation sees examples as they are: no augmentation, whatever the training has.
    _check_batch(split, batch_size, ())
    everything = np.arange(len(split))
    groups = [everything]
    if isinstance(split.x, Ragged):
        order = np.argsort(split.x.lengths, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(split.x.lengths[order])) + 1)
    for group in groups:
        for start in range(0, len(group), batch_size):
            rows = group[start : start + batch_size]
            context = {k: _to_tensor(_whole(v, rows), device) for k, v in split.context.items()}
            yield rows, (_to_tensor(_whole(split.x, rows), device), context)


def _whole(values: Any, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Examples of one length, shape (B, ...)."""
    if isinstance(values, Ragged):
        return np.stack([values.example(row) for row in rows.tolist()])
    # In order, so that a slice does: of a memory map it copies once.
    found: NDArray[Any] = values[rows[0] : rows[-1] + 1]
    return found


class _Rows(Protocol):
    """Where the examples of a stream are."""

    num: int
    num_draws: int

    def gather(self, rows: Tensor, draws: Any) -> RawBatch:
        """The examples at some positions, for each of which there are some draws."""
        ...


class _Resident:
    """A split that is on the device as a whole."""

    num_draws = 0

    def __init__(self, split: Split, device: torch.device) -> None:
        self.num = len(split)
        self._x = _to_tensor(split.x, device)
        self._context = {k: _to_tensor(v, device) for k, v in split.context.items()}

    def gather(self, rows: Tensor, draws: Any) -> RawBatch:
        """The examples at some positions."""
        del draws
        context = {k: v.index_select(0, rows) for k, v in self._context.items()}
        return self._x.index_select(0, rows), context


class _Mapped:
    """A split that stays on disk; what is gathered from it is in host memory.

    For CUDA it is pinned memory, from which the copy to the device runs beside the computation.
    """

    num_draws = 0

    def __init__(self, split: Split, device: torch.device) -> None:
        self.num = len(split)
        self._x, self._context = ScatteredRows(split.x), split.context
        self._pin = device.type == "cuda"

    def gather(self, rows: Tensor, draws: Any) -> RawBatch:
        """The examples at some positions."""
        del draws
        at = rows.numpy()
        self._x.ask_for(at)
        context = {k: take_rows(v, at, self._pin) for k, v in self._context.items()}
        return take_rows(self._x.values, at, self._pin), context


class _Cut:
    """Segments of examples of different lengths, each at random."""

    num_draws = 1

    def __init__(self, split: Split[Any], segments: Segments, device: torch.device) -> None:
        starts = segments.num_starts(split.x.lengths)
        self._long_enough = np.flatnonzero(starts)
        if not len(self._long_enough):
            raise DataError(
                f"no training example has the {segments.length:,} values of a segment, the longest "
                f"has {split.x.lengths.max():,}; set training.window"
            )
        self.num = len(self._long_enough)
        self._split, self._segments, self._starts = split, segments, starts
        self._pin = device.type == "cuda"

    def gather(self, rows: Tensor, draws: Any) -> RawBatch:
        """Segments of the examples at some positions."""
        at = self._long_enough[rows.numpy()]
        # In float64: rounded to float32 a product could reach the number of places itself.
        places = (draws[:, 0].double().numpy() * self._starts[at]).astype(np.int64)
        cut = self._segments.cut(self._split, at, places * self._segments.grid)
        context = {k: self._tensor(v) for k, v in cut.context.items()}
        return self._tensor(cut.x), context

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        found = torch.from_numpy(values.astype(tensor_dtype(values.dtype), copy=False))
        return found.pin_memory() if self._pin else found


class _Cursor(NamedTuple):
    """A place in the stream."""

    epoch: int
    position: int


class _Ahead(NamedTuple):
    """A batch that is being gathered, and the place in the stream after it."""

    batch: Future[RawBatch]
    draws: Tensor | None
    cursor: _Cursor


class _Order:
    """The order of the stream: which examples come next, and what is drawn for them.

    Args:
        num_examples: Examples in an epoch.
        seed: Seed of the order and of the draws.
        device: Where the indices are needed.
        num_draws: Numbers drawn for an example, for its augmentation.
    """

    def __init__(self, num_examples: int, seed: int, device: torch.device, num_draws: int) -> None:
        self._num_examples, self._seed = num_examples, seed
        self._device, self._num_draws = device, num_draws
        self.seek(_Cursor(0, 0))

    def seek(self, cursor: _Cursor) -> None:
        """Goes to a place in the stream."""
        self.cursor = cursor
        generator = torch.Generator().manual_seed(_epoch_seed(self._seed, cursor.epoch))
        self._rows = torch.randperm(self._num_examples, generator=generator).to(self._device)
        self._draws: Tensor | None = None
        if self._num_draws:
            # For the whole epoch, in the order of the permutation: a stream that is taken up in the
            # middle of an epoch then draws what it would have drawn.
            draws = torch.rand(self._num_examples, self._num_draws, generator=generator)
            self._draws = draws.to(self._device)

    def take(self, num: int) -> tuple[Tensor, Tensor | None]:
        """The next examples, over as many epochs as they span.

        Returns:
            Their positions, and what was drawn for them, shape (num, num_draws).
        """
        rows: list[Tensor] = []
        # A batch may be longer than an epoch, so it can span more than two.
        draws: list[Tensor] = []
        while num:
            epoch, position = self.cursor
            some = min(num, self._num_examples - position)
            rows.append(self._rows.narrow(0, position, some))
            if self._draws is not None:
                draws.append(self._draws.narrow(0, position, some))
            num -= some
            if position + some == self._num_examples:
                self.seek(_Cursor(epoch + 1, 0))
            else:
                self.cursor = _Cursor(epoch, position + some)
        return _joined(rows), _joined(draws) if draws else None


def _joined(pieces: list[Tensor]) -> Tensor:
    # Nearly every batch lies within an epoch, and then no copy is needed.
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _to_tensor(values: NDArray[Any], device: torch.device | str) -> Tensor:
    """A copy on the device."""
    # In memory of NumPy's, which asks for huge pages: to gather random rows is then faster.
    native = np.empty(values.shape, dtype=tensor_dtype(values.dtype))
    native[...] = values
    return torch.from_numpy(native).to(device)


def _epoch_seed(seed: int, epoch: int) -> int:
    # Mixed by NumPy, so that (seed, epoch) and (seed + 1, epoch - 1) are unrelated streams.
    return int(
        np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0] >> np.uint64(1)
    )


def _check_batch(split: Split[Any], batch_size: int, augment: Sequence[str]) -> None:
    if batch_size < 1:
        raise ConfigError(f"batch size is {batch_size}, expected 1 or more; set batch_size")
    shape = None if isinstance(split.x, Ragged) else split.x.shape[1:]
    if augment and (shape is None or len(shape) != 3):
        raise ConfigError(
            f"{augment[0]} needs images of shape (C, H, W), examples here have "
            f"{'different lengths' if shape is None else f'shape {shape}'}; leave augment empty"
        )
