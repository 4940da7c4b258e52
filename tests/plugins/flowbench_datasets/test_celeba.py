from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flowbench.errors import DataError
from flowbench_datasets.celeba import convert, convert_5bit, convert_hq
from tests.plugins.flowbench_datasets.collect import collect

CODES = {"000001": 0, "000002": 2, "000003": 0, "000004": 1}


def write(folder: Path, size: tuple[int, int] = (178, 218)) -> dict[str, Path]:
    images = folder / "img_align_celeba"
    images.mkdir(parents=True)
    for number, name in enumerate(CODES):
        pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(pixels).save(images / f"{name}.jpg", quality=100, subsampling=0)
    partition = folder / "list_eval_partition.txt"
    partition.write_text("".join(f"{name}.jpg {code}\n" for name, code in CODES.items()))
    return {"img_align_celeba.zip": images, "list_eval_partition.txt": partition}


def test_the_official_split_and_the_named_crop(tmp_path: Path) -> None:
    files = write(tmp_path)
    splits = collect(convert(files))
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 2,
        "validation": 1,
        "test": 1,
    }
    with Image.open(files["img_align_celeba.zip"] / "000003.jpg") as image:
        crop = np.asarray(image)[40:188, 15:163]  # row 40, column 15, 148x148
    square = Image.fromarray(crop).resize((64, 64), Image.Resampling.BILINEAR)
    assert np.array_equal(splits["train"].x[1], np.asarray(square).transpose(2, 0, 1))


def test_the_zip_and_its_folder_give_the_same(tmp_path: Path) -> None:
    files = write(tmp_path)
    packed = tmp_path / "img_align_celeba.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in reversed(sorted(files["img_align_celeba.zip"].iterdir())):
            archive.write(path, f"img_align_celeba/{path.name}")
    zipped = collect(convert({**files, "img_align_celeba.zip": packed}))
    for name, split in collect(convert(files)).items():
        assert np.array_equal(zipped[name].x, split.x)


def test_five_bits_are_the_leading_ones(tmp_path: Path) -> None:
    files = write(tmp_path)
    full, five = collect(convert(files)), collect(convert_5bit(files))
    assert np.array_equal(five["test"].x, full["test"].x // 8)
    assert five["test"].x.max() < 32


def test_damaged_sets_are_told(tmp_path: Path) -> None:
    files = write(tmp_path)
    (files["img_align_celeba.zip"] / "000002.jpg").unlink()
    with pytest.raises(DataError, match=r"lacks 1 of the 1 test images .* first is 000002.jpg"):
        collect(convert(files))
    files["list_eval_partition.txt"].write_text("<html>\n")
    with pytest.raises(DataError, match=r"line '<html>', expected '000001.jpg 0'"):
        collect(convert(files))
    other = write(tmp_path / "other", (64, 64))
    with pytest.raises(DataError, match="64x64 is not an aligned image of 178x218"):
        collect(convert(other))


def test_celeba_hq_comes_with_five_bits_and_is_not_resized(tmp_path: Path) -> None:
    for split, num in (("train", 2), ("validation", 1)):
        (tmp_path / split).mkdir()
        for number in range(num):
            pixels = np.random.default_rng(number).integers(0, 256, (256, 256, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / split / f"{number}.png")
    files = {"train.zip": tmp_path / "train", "validation.zip": tmp_path / "validation"}
    splits = collect(convert_hq(files))
    expected = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8) >> 3
    assert np.array_equal(splits["test"].x[0], expected.transpose(2, 0, 1))
    assert len(splits["train"]) == 2
