"""Data as they pass between datasets, the harness and metrics: NumPy arrays, never tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowbench.api.specs import SplitName


@dataclass(frozen=True, kw_only=True)
class Split:
    """One split of a dataset.

    Attributes:
        x: Raw values, shape (N, *event_shape): an integer dtype with values ``0..K-1``, or floats.
            May be memory-mapped.
        context: Conditioning inputs by name, each of shape (N, *context_shape); ``label`` holds
            int64 class indices.
    """

    x: NDArray[Any]
    context: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)

    def take(self, indices: NDArray[np.int64]) -> Split:
        """Picks examples.

        Args:
            indices: Positions, shape (M,).

        Returns:
            The split of those examples, in that order.
        """
        context = {name: values[indices] for name, values in self.context.items()}
        return Split(x=self.x[indices], context=context)


@dataclass(frozen=True, kw_only=True)
class DataSplits:
    """A dataset's splits. A loader that has no validation split of its own leaves it None.

    Attributes:
        train: Training examples.
        test: Test examples.
        validation: Validation examples.
        validation_of_train: The harness took the validation examples off the training split as it
            was published; statistics of that split are over both.
    """

    train: Split
    test: Split
    validation: Split | None = None
    validation_of_train: bool = False

    def __getitem__(self, name: SplitName) -> Split:
        split = {"train": self.train, "validation": self.validation, "test": self.test}[name]
        if split is None:
            raise KeyError("validation: this dataset has none; the harness makes it on loading")
        return split
