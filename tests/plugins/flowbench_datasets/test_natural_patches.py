from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from flowbench.api import DataSplits
from flowbench_datasets import natural_patches
from flowbench_datasets.natural_patches import PHOTOGRAPHS, SIZE, STRIPS, load


def numbered_load(monkeypatch: pytest.MonkeyPatch) -> DataSplits:
    """Loads crops of images whose every pixel holds its own number instead of a colour."""
    pixels = np.arange(2 * 427 * 640, dtype=np.int64).reshape(2, 1, 427, 640).repeat(3, axis=1)
    images = dict(zip(PHOTOGRAPHS, pixels, strict=True))
    monkeypatch.setattr(natural_patches, "_photograph", images.__getitem__)
    return load(Path("unused"))


def test_strips_fill_the_photograph() -> None:
    assert sum(width for _, width in STRIPS) == 640


def test_splits_share_no_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    splits = numbered_load(monkeypatch)
    owners = np.zeros(2 * 427 * 640, dtype=int)
    for name in ("train", "validation", "test"):
        used = np.zeros(len(owners), dtype=bool)
        used[splits[name].x[:, 0]] = True
        owners += used
    assert owners.max() == 1


def test_test_crops_do_not_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    test = numbered_load(monkeypatch).test.x
    assert len(np.unique(test)) == len(test) * SIZE * SIZE


def test_crops_are_pieces_of_the_photographs() -> None:
    splits = load(Path("unused"))
    photograph = natural_patches._photograph("china.jpg")
    assert photograph.shape == (3, 427, 640)
    assert photograph.dtype == np.uint8
    windows = sliding_window_view(photograph, (SIZE, SIZE), axis=(1, 2))
    assert np.array_equal(splits.train.x[0], windows[:, 0, 0])
    first_test_column = STRIPS[0][1]
    assert np.array_equal(splits.test.x[0], windows[:, 0, first_test_column])
    assert np.array_equal(splits.test.x[1], windows[:, 0, first_test_column + SIZE])


def test_the_description_says_that_crops_are_not_independent() -> None:
    from flowbench_datasets.specs import NATURAL_PATCHES

    assert "not independent" in NATURAL_PATCHES.summary
    assert "not independent" in NATURAL_PATCHES.notes
