"""MNIST and Fashion-MNIST: gzipped files in LeCun's idx format."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowbench.api import DataError, Split
from flowbench.api.specs import SplitName

UINT8 = 8  # idx's code of unsigned bytes
PREFIXES: tuple[tuple[SplitName, str], ...] = (("train", "train"), ("test", "t10k"))


def convert(files: Mapping[str, Path]) -> Iterator[tuple[SplitName, Split]]:
    """Reads the four files of MNIST, or of a set that is distributed like it.

    Args:
        files: Paths of the images and labels of train and test.

    Yields:
        The two splits: uint8 images of shape (1, 28, 28), and labels.
    """
    for split, prefix in PREFIXES:
        images = read_idx(files[f"{prefix}-images-idx3-ubyte.gz"], num_axes=3)
        labels = read_idx(files[f"{prefix}-labels-idx1-ubyte.gz"], num_axes=1)
        yield split, Split(x=images[:, None], context={"label": labels.astype(np.int64)})


def read_idx(path: Path, num_axes: int) -> NDArray[np.uint8]:
    """Reads an array of unsigned bytes in idx format, gzipped or not.

    Args:
        num_axes: How many axes it must have.

    Returns:
        The array in the shape that its header states.

    Raises:
        DataError: The file is not such an array, or not all of it.
    """
    data = path.read_bytes()
    try:
        data = gzip.decompress(data) if path.name.endswith(".gz") else data
    except (EOFError, OSError, zlib.error) as exc:
        raise DataError(f"{path} is not a complete gzip file ({exc}); fetch it again") from exc
    if len(data) < 4 or data[:3] != bytes((0, 0, UINT8)):
        raise DataError(f"{path} is not an idx file of unsigned bytes; fetch it again")
    if data[3] != num_axes:
        raise DataError(f"{path} has {data[3]} axes, expected {num_axes}; fetch it again")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise DataError(f"{path} ends within its idx header; fetch it again")
    shape: tuple[int, ...] = tuple(np.frombuffer(data[4:start], dtype=">i4").tolist())
    values = np.frombuffer(data, dtype=np.uint8, offset=start)
    if min(shape, default=0) < 0 or len(values) != math.prod(shape):
        raise DataError(f"{path} holds {len(values)} values for shape {shape}; fetch it again")
    return values.reshape(shape)
