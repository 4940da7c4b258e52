"""Natural patches: 32x32 crops of the two photographs that scikit-learn ships.

Each photograph (427x640) is cut into vertical strips that share no pixel; a split takes its crops
from its own strips. Strips of the splits alternate, so that sky, roof and leaves reach all of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flowbench.api import DataSplits, Split
from flowbench_datasets.sklearn_files import sklearn_file

PHOTOGRAPHS = ("china.jpg", "flower.jpg")
SIZE = 32  # pixels, height and width of a crop
OVERLAP_STRIDE = 8  # between training crops, and between validation crops
# From left to right: split and width in pixels; the widths fill a photograph of 640.
STRIPS: tuple[tuple[Literal["train", "validation", "test"], int], ...] = (
    ("train", 96),
    ("test", 96),
    ("train", 128),
    ("validation", 64),
    ("train", 128),
    ("test", 128),
)


def load(data_dir: Path) -> DataSplits:
    """Cuts the crops out of the photographs.

    Args:
        data_dir: Not used; nothing is downloaded.

    Returns:
        3,500 training and 500 validation crops, overlapping within their split, and 182 test crops
        that do not overlap; uint8, shape (3, 32, 32).
    """
    del data_dir
    photographs = [_photograph(name) for name in PHOTOGRAPHS]
    return DataSplits(
        train=_crops_of("train", photographs, OVERLAP_STRIDE),
        validation=_crops_of("validation", photographs, OVERLAP_STRIDE),
        test=_crops_of("test", photographs, SIZE),
    )


def _photograph(name: str) -> NDArray[Any]:
    with Image.open(sklearn_file(f"images/{name}")) as image:
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)  # (3, 427, 640)


def _crops_of(split: str, photographs: list[NDArray[Any]], stride: int) -> Split:
    crops, left = [], 0
    for owner, width in STRIPS:
        if owner == split:
            crops += [_crops(image[:, :, left : left + width], stride) for image in photographs]
        left += width
    return Split(x=np.concatenate(crops))


def _crops(region: NDArray[Any], stride: int) -> NDArray[Any]:
    """All crops of a region at a stride, row by row: (N, 3, 32, 32)."""
    windows = np.lib.stride_tricks.sliding_window_view(region, (SIZE, SIZE), axis=(1, 2))
    grid = windows[:, ::stride, ::stride]  # (3, rows, columns, 32, 32)
    return np.ascontiguousarray(grid.transpose(1, 2, 0, 3, 4).reshape(-1, 3, SIZE, SIZE))
