from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from flowbench.api.readers import Archive, center_square, open_archive, read_images
from flowbench.errors import DataError


def save(path: Path, width: int, height: int, seed: int = 0) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def read(
    archive: Archive,
    size: int,
    prepare: Callable[[Image.Image], Image.Image] = lambda image: image,
) -> NDArray[np.uint8]:
    return np.concatenate(list(read_images(archive, archive.names, size, prepare)))


def test_images_come_as_planes_in_the_order_of_their_names(tmp_path: Path) -> None:
    for number, name in enumerate(("b.png", "a.png")):
        save(tmp_path / name, 4, 4, seed=number)
    with open_archive(tmp_path) as archive:
        x = read(archive, 4)
    expected = np.random.default_rng(1).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    assert x.shape == (2, 3, 4, 4)
    np.testing.assert_array_equal(x[0], expected.transpose(2, 0, 1))


def test_an_image_of_another_size_is_named(tmp_path: Path) -> None:
    save(tmp_path / "wide.png", 6, 4)
    with open_archive(tmp_path) as archive, pytest.raises(DataError, match=r"'wide\.png'.* is 6x4"):
        read(archive, 4)


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "note.png").write_text("not an image")
    with open_archive(tmp_path) as archive, pytest.raises(DataError, match=r"'note\.png'"):
        read(archive, 4)


def test_the_middle_square_is_cropped_before_it_is_scaled() -> None:
    pixels = np.zeros((4, 8, 3), dtype=np.uint8)
    pixels[:, 2:6] = 200  # the square; black on both sides of it must not bleed in
    square = center_square(Image.fromarray(pixels), 2)
    assert square.size == (2, 2)
    assert np.unique(np.asarray(square)).tolist() == [200]


def test_an_image_smaller_than_the_square_is_refused() -> None:
    with pytest.raises(ValueError, match="3x8 is smaller than 4x4"):
        center_square(Image.new("RGB", (3, 8)), 4)
