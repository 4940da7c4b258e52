"""A training step as a CUDA graph: recorded once, then replayed by one launch.

A small flow launches some hundred kernels a step, each of which takes the host longer to ask for
than the device to run. A graph of them all has one launch, and no Python in between. What it reads
and writes stays where it is: each batch is copied into the same memory, progress and learning rate
are tensors, and results lie where the last replay left them.

Recorded are preprocessing, loss, backward pass, guard and optimizer. What the loop counts, the
model's `after_step` and averages stay outside: they are a few launches, and may be Python.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from flowbench.api.models import GenerativeModel, Step
from flowbench.data.batches import RawBatch
from flowbench.errors import ConfigError, TrainingError, text_of
from flowbench.training.device import is_out_of_memory

T = TypeVar("T")
# Torch's notes on CUDA graphs take three: optimizers make their state in the first, and libraries
# choose their kernels.
NUM_WARM_UP = 3
MAX_REASON = 300  # characters


@dataclass(frozen=True)
class Inputs:
    """What a step reads, always in the same memory.

    Attributes:
        raw: Raw values of the batch, shape (B, *event_shape).
        context: What they are given.
        progress: Part of the budget used, shape ().
        lr: The learning rate, shape ().
    """

    raw: Tensor
    context: Mapping[str, Tensor]
    progress: Tensor
    lr: Tensor

    @classmethod
    def like(cls, batch: RawBatch) -> Inputs:
        """Memory for batches like this one."""
        raw, context = batch
        own = {name: values.clone() for name, values in context.items()}
        # In float32, as kernels of optimizers read it from a GPU.
        progress, lr = torch.zeros(2, device=raw.device).unbind()
        return cls(raw.clone(), own, progress, lr)

    def fill(self, batch: RawBatch, progress: float, lr: float) -> None:
        """Puts the inputs of a step in place."""
        raw, context = batch
        self.raw.copy_(raw)
        for name, values in self.context.items():
            values.copy_(context[name])
        self.progress.fill_(progress)
        self.lr.fill_(lr)


class Graph(Protocol[T]):
    """Work on a device that is recorded, and done again with each replay."""

    def warm_up(self, work: Callable[[], T]) -> T:
        """Does the work as it will be recorded, and returns what it gives."""
        ...

    def capture(self, work: Callable[[], T]) -> None:
        """Records the work; nothing is done yet."""
        ...

    def replay(self) -> T:
        """Does the recorded work; what it gives lies where each replay leaves it."""
        ...


class CudaGraph(Generic[T]):
    """A graph of CUDA's.

    Args:
        generators: Sources of noise besides the device's own: each replay goes on with them.
    """

    def __init__(self, *generators: torch.Generator) -> None:
        self._graph = torch.cuda.CUDAGraph()
        for generator in generators:
            self._graph.register_generator_state(generator)
        # One for all: gradients are summed up on the stream on which they are first seen.
        self._stream: torch.cuda.Stream = torch.cuda.Stream()

    def warm_up(self, work: Callable[[], T]) -> T:
        """Does the work on the stream that it is recorded on; see `Graph.warm_up`."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream), warnings.catch_warnings():
            # Optimizers that can be recorded tell us that this step is not.
            warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
            result = work()
        torch.cuda.current_stream().wait_stream(self._stream)
        return result

    def capture(self, work: Callable[[], T]) -> None:
        """Records the work; see `Graph.capture`."""
        # Of this thread alone: others read the next batches into page-locked memory meanwhile.
        recording = torch.cuda.graph(
            self._graph, stream=self._stream, capture_error_mode="thread_local"
        )
        with recording:
            self._result = work()

    def replay(self) -> T:
        """Does the recorded work; see `Graph.replay`."""
        self._graph.replay()
        return self._result


GRAPHS: dict[str, Callable[..., Graph[Any]]] = {"cuda": CudaGraph}
"""Graphs of the kinds of device that have them."""


class GraphedStep(Generic[T]):
    """A step that is done as it is a few times, then recorded and replayed.

    All of them are steps of the training: to warm up costs none.

    Args:
        name: Of the model, for errors.
        work: The step, of its inputs in a phase. What it returns is read before the next step.
        new_graph: Makes a graph.
        capturing: A block in which it is recorded.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Inputs, int], T],
        new_graph: Callable[[], Graph[T]],
        capturing: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self._name, self._work = name, work
        self._new_graph, self._capturing = new_graph, capturing
        self._inputs: Inputs | None = None
        self._graph: Graph[T] | None = None
        self._phase, self._num_done = -1, 0

    def __call__(self, batch: RawBatch, progress: float, lr: float, phase: int) -> T:
        """Does a step.

        Args:
            batch: The raw batch, of the same shape each time.
            progress: Part of the budget used.
            lr: The learning rate.
            phase: Index of the phase; each is recorded anew.

        Raises:
            TrainingError: The step cannot be recorded.
        """
        if self._graph is None or phase != self._phase:
            self._graph, self._phase, self._num_done = self._new_graph(), phase, 0
        if self._inputs is None:
            self._inputs = Inputs.like(batch)
        self._inputs.fill(batch, progress, lr)
        work = partial(self._work, self._inputs, phase)
        self._num_done += 1
        if self._num_done <= NUM_WARM_UP:
            return self._graph.warm_up(work)
        if self._num_done == NUM_WARM_UP + 1:
            with self._capturing():
                self._capture(self._graph, work)
        return self._graph.replay()

    def _capture(self, graph: Graph[T], work: Callable[[], T]) -> None:
        try:
            graph.capture(work)
        except RuntimeError as exc:
            # The end of a recording that has failed is an error, too, and says nothing of why.
            cause = exc.__context__ or exc
            if is_out_of_memory(cause):
                raise
            raise TrainingError(
                f"the step of {self._name} cannot be recorded as a graph: "
                f"{text_of(cause, MAX_REASON)}; set training.graph=false"
            ) from exc


class RecordedStep(Step):
    """Where training stands, for a step that is recorded: a draw on the host would be, too."""

    def __getattribute__(self, name: str) -> Any:
        """Refuses the seed of draws on the host.

        Raises:
            ConfigError: It was asked for.
        """
        if name == "seed":
            raise ConfigError(
                "training.graph is set, but the loss draws on the host (Step.seed), which a graph "
                "would repeat; set training.graph=false, or declare full_graph = False"
            )
        return super().__getattribute__(name)


def check_graph(model: GenerativeModel, device_kind: str, num_devices: int) -> None:
    """Refuses a step that no graph can be made of.

    Args:
        device_kind: What the model is trained on.
        num_devices: How many of them train it together.

    Raises:
        ConfigError: It is refused.
    """
    groups = list(model.optimizer_groups())
    why = None
    if device_kind not in GRAPHS:
        why = f"a graph needs CUDA, and this job trains on {device_kind}"
    elif not model.config.full_graph:
        why = model.config.full_graph_reason or "the model says that its loss is no single graph"
    elif len(groups) > 1:
        why = f"the model has several optimizer groups ({', '.join(groups)})"
    elif num_devices > 1:
        why = f"{num_devices} devices train the model together"
    if why is not None:
        raise ConfigError(f"training.graph is set, but {why}; leave it at false")
