"""Euclidean distance to the nearest training example, in chunks that fit in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MAX_VALUES = 1 << 27  # of the training examples that are searched; half a GiB as float32
CHUNK_VALUES = 1 << 24  # of the training examples held as float32 at a time


def spread_out(x: NDArray[Any]) -> NDArray[Any]:
    """As many examples, at even distances, as `MAX_VALUES` allows.

    Args:
        x: Examples, shape (N, *event_shape).

    Returns:
        All of them, or fewer where the search would take too long.
    """
    num = max(1, MAX_VALUES // max(1, x[0].size))
    if len(x) <= num:
        return x
    return x[np.linspace(0, len(x) - 1, num).astype(np.int64)]


def nearest_distances(queries: NDArray[Any], references: NDArray[Any]) -> NDArray[np.float64]:
    """Distance of each query to the nearest reference.

    Args:
        queries: Examples, shape (Q, *event_shape).
        references: Examples, shape (R, *event_shape).

    Returns:
        Distances in raw units, shape (Q,).
    """
    wanted = _rows(queries, torch.float32)
    best = torch.full((len(wanted),), torch.inf)
    index = torch.zeros(len(wanted), dtype=torch.int64)
    step = max(1, CHUNK_VALUES // wanted.shape[1])
    for start in range(0, len(references), step):
        chunk = _rows(references[start : start + step], torch.float32)
        distance, position = torch.cdist(wanted, chunk).min(dim=1)
        index = torch.where(distance < best, start + position, index)
        best = torch.minimum(distance, best)
    # cdist multiplies matrices, which leaves no digits of a small distance: the one to the example
    # that was found is taken again, exactly.
    found = _rows(references[index.numpy()], torch.float64)
    exact: NDArray[np.float64] = (_rows(queries, torch.float64) - found).norm(dim=1).numpy()
    return exact


def _rows(x: NDArray[Any], dtype: torch.dtype) -> Tensor:
    return torch.tensor(np.asarray(x)).to(dtype).flatten(1)
