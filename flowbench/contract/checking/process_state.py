"""The settings and random states that belong to the whole process, and so to no plugin."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

# How each is read and put back, by the name that a report says.
SETTINGS: Mapping[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "torch.get_default_dtype()": (torch.get_default_dtype, torch.set_default_dtype),
    "torch.get_num_threads()": (torch.get_num_threads, torch.set_num_threads),
    "torch.is_grad_enabled()": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch.are_deterministic_algorithms_enabled()": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "torch.get_float32_matmul_precision()": (
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    "numpy.geterr()": (np.geterr, lambda settings: np.seterr(**settings)),
}


@dataclass(frozen=True, kw_only=True)
class ProcessState:
    """A snapshot.

    Attributes:
        settings: Default dtype, threads, gradient mode and the like, by name.
        torch_rng: State of torch's global generator.
        numpy_rng: State of NumPy's.
        python_rng: State of `random`.
    """

    settings: dict[str, Any]
    torch_rng: Tensor
    numpy_rng: dict[str, Any]
    python_rng: tuple[Any, ...]

    @classmethod
    def take(cls) -> ProcessState:
        """Takes a snapshot."""
        return cls(
            settings={name: read() for name, (read, _) in SETTINGS.items()},
            torch_rng=torch.get_rng_state(),
            numpy_rng=np.random.get_state(legacy=False),  # noqa: NPY002
            python_rng=random.getstate(),
        )

    def changed_settings(self) -> list[str]:
        """The settings that are not as they were, with their old and new values."""
        now = ProcessState.take().settings
        return [
            f"{name} went from {value} to {now[name]}"
            for name, value in self.settings.items()
            if now[name] != value
        ]

    def advanced_generators(self) -> list[str]:
        """The global random generators that were drawn from or seeded since."""
        now = ProcessState.take()
        moved = {
            "torch's": not torch.equal(now.torch_rng, self.torch_rng),
            "NumPy's": str(now.numpy_rng) != str(self.numpy_rng),
            "Python's": now.python_rng != self.python_rng,
        }
        return [name for name, has_moved in moved.items() if has_moved]

    def restore(self) -> None:
        """Puts everything back."""
        for name, (read, put_back) in SETTINGS.items():
            if read() != self.settings[name]:  # setting the number of threads costs time
                put_back(self.settings[name])
        torch.set_rng_state(self.torch_rng)
        np.random.set_state(self.numpy_rng)  # noqa: NPY002
        random.setstate(self.python_rng)


def seed_globals(seed: int = 20_141_030) -> None:
    """Puts the global generators into a state that no plugin leaves by chance."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # the global generator is what is looked at
    random.seed(seed)


@contextmanager
def preserved_process() -> Iterator[ProcessState]:
    """Leaves the process as it was, whatever a plugin does in the block.

    Yields:
        The state at the begin of the block.
    """
    state = ProcessState.take()
    try:
        yield state
    finally:
        state.restore()
