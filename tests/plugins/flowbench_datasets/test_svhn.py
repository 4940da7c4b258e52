from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from flowbench.errors import DataError
from flowbench_datasets.svhn import convert
from tests.plugins.flowbench_datasets.collect import collect


def write(folder: Path, num: int = 6) -> dict[str, Path]:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        x = rng.integers(0, 256, (32, 32, 3, num), dtype=np.uint8)
        y = np.arange(num, dtype=np.uint8)[:, None] % 6 + 5  # 5..10: ten stands for zero
        savemat(folder / f"{split}_32x32.mat", {"X": x, "y": y})
    return {path.name: path for path in folder.iterdir()}


def test_images_and_labels(tmp_path: Path) -> None:
    splits = collect(convert(write(tmp_path)))
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (32, 32, 3, 6), dtype=np.uint8)
    assert splits["train"].x.shape == (6, 3, 32, 32)
    assert splits["train"].x[4, 1, 7, 9] == x[7, 9, 1, 4]
    assert splits["train"].context["label"].tolist() == [5, 6, 7, 8, 9, 0]


def test_other_files_are_refused(tmp_path: Path) -> None:
    files = write(tmp_path)
    files["train_32x32.mat"].write_bytes(b"<!DOCTYPE html>" * 100)
    with pytest.raises(DataError, match="no MATLAB file of SVHN"):
        collect(convert(files))
    savemat(files["train_32x32.mat"], {"X": np.zeros((2, 2)), "y": np.zeros((3, 1))})
    with pytest.raises(
        DataError, match=r"shape \(2, 2\) and type .*, expected bytes of shape \(32, 32, 3, 3\)"
    ):
        collect(convert(files))


def test_whatever_bit_is_flipped_the_file_is_named(tmp_path: Path) -> None:
    files = write(tmp_path)
    file = files["train_32x32.mat"]
    whole = file.read_bytes()
    for position in (*range(0, 400, 3), len(whole) - 9):
        file.write_bytes(
            whole[:position] + bytes((whole[position] ^ 0x55,)) + whole[position + 1 :]
        )
        _told_or_read(files)
    for length in range(0, len(whole), 1999):
        file.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"train_32x32\.mat"):
            collect(convert(files))


def _told_or_read(files: dict[str, Path]) -> None:
    try:
        collect(convert(files))
    except DataError as exc:
        assert "train_32x32.mat" in str(exc)  # noqa: PT017 - some bits bear nothing
