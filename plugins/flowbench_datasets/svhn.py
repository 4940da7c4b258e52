"""SVHN, cropped digits: Netzer et al.'s MATLAB files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from flowbench.api import DataError, Split
from flowbench.api.readers import DAMAGE
from flowbench.api.specs import SplitName


def convert(files: Mapping[str, Path]) -> Iterator[tuple[SplitName, Split]]:
    """Reads the train and test files of SVHN; its ``extra`` images are not used.

    Args:
        files: Paths of the two files.

    Yields:
        The two splits: uint8 images of shape (3, 32, 32), and labels 0..9.
    """
    for split in ("train", "test"):
        yield split, _read(files[f"{split}_32x32.mat"])


def _read(path: Path) -> Split:
    from scipy.io import loadmat  # takes a while to import
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path, variable_names=["X", "y"])
        x, y = content["X"], content["y"].reshape(-1)
        shape = np.shape(x)
        labels = y.astype(np.int64) % 10  # the digit 0 is class 10 there
    except (*DAMAGE, MatReadError) as exc:
        raise DataError(f"{path} is no MATLAB file of SVHN ({exc}); fetch it again") from exc
    if shape != (32, 32, 3, len(y)) or x.dtype != np.uint8:
        raise DataError(
            f"{path} has images of shape {shape} and type {x.dtype}, expected bytes of shape "
            f"(32, 32, 3, {len(y)})"
        )
    return Split(x=x.transpose(3, 2, 0, 1), context={"label": labels})
