"""SVHN, cropped digits: Netzer et al.'s MATLAB files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from flowbench.api import DataError, Split
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
    except (MatReadError, KeyError, OSError, TypeError, ValueError, NotImplementedError) as exc:
        raise DataError(f"{path} is no MATLAB file of SVHN ({exc}); fetch it again") from exc
    if x.shape != (32, 32, 3, len(y)):
        raise DataError(f"{path} has images of shape {x.shape}, expected (32, 32, 3, {len(y)})")
    labels = y.astype(np.int64) % 10  # the digit 0 is class 10 there
    return Split(x=x.transpose(3, 2, 0, 1), context={"label": labels})
