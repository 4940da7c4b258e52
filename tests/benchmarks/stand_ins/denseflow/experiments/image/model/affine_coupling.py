"""Stands in for the coupling networks of github.com/matejgrcic/DenseFlow."""

from __future__ import annotations

from typing import Any


def DenseNetMultihead(num_inputs: int, num_outputs: int, **sizes: Any) -> dict[str, Any]:
    """The sizes that such a network is asked for."""
    del num_inputs, num_outputs
    return sizes


DNMH: Any = None  # what the model calls; the benchmark puts a network of its sizes here
