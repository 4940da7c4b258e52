from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from flowbench.api.readers import Archive, as_rgb, center_square, images, open_archive, read_images
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


def test_an_image_of_more_pixels_than_any_data_set_has_is_named_and_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "a.png", 4, 4)
    save(tmp_path / "vast.png", 5, 4)
    monkeypatch.setattr(images, "MOST_PIXELS", 16)
    left_out: list[tuple[str, str]] = []

    def resize(image: Image.Image) -> Image.Image:
        return image.resize((4, 4))

    with open_archive(tmp_path) as archive:
        with pytest.raises(DataError, match=r"'vast\.png'.*5x4 pixels, more than 16"):
            read(archive, 4, resize)
        pieces = read_images(archive, archive.names, 4, resize, lambda *told: left_out.append(told))
        assert [len(piece) for piece in pieces] == [1]
    assert left_out == [("vast.png", "it has 5x4 pixels, more than 16")]


def test_the_middle_square_is_cropped_before_it_is_scaled() -> None:
    pixels = np.zeros((4, 8, 3), dtype=np.uint8)
    pixels[:, 2:6] = 200  # the square; black on both sides of it must not bleed in
    square = center_square(Image.fromarray(pixels), 2)
    assert square.size == (2, 2)
    assert np.unique(np.asarray(square)).tolist() == [200]


def test_an_image_smaller_than_the_square_is_refused() -> None:
    with pytest.raises(ValueError, match="3x8 is smaller than 4x4"):
        center_square(Image.new("RGB", (3, 8)), 4)


def grey16(dtype: str, mode: str) -> Image.Image:
    values = np.array([[0, 255, 256], [32768, 65280, 65535]], dtype=dtype)
    return Image.frombytes(mode, (3, 2), values.tobytes())


@pytest.mark.parametrize(
    ("dtype", "mode"), [("<u2", "I;16"), (">u2", "I;16B"), ("<i4", "I")], ids=lambda v: v
)
def test_of_16_bits_the_upper_8_are_taken(dtype: str, mode: str) -> None:
    rgb = np.asarray(as_rgb(grey16(dtype, mode)))
    assert rgb[..., 0].tolist() == [[0, 0, 1], [128, 255, 255]]
    assert (rgb == rgb[..., :1]).all()


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 77, (77, 77, 77)),
        ("LA", (77, 255), (77, 77, 77)),
        ("LA", (77, 0), (255, 255, 255)),
        ("RGB", (1, 2, 3), (1, 2, 3)),
        ("RGBA", (1, 2, 3, 255), (1, 2, 3)),
        ("RGBA", (1, 2, 3, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("RGBX", (1, 2, 3, 0), (1, 2, 3)),
        ("RGBa", (51, 0, 0, 51), (255, 204, 204)),
        ("CMYK", (255, 0, 0, 0), (0, 255, 255)),
        ("YCbCr", (100, 128, 128), (100, 100, 100)),
    ],
)
def test_every_kind_of_colour_has_its_rule(
    mode: str, colour: int | tuple[int, ...], expected: tuple[int, int, int]
) -> None:
    rgb = as_rgb(Image.new(mode, (2, 2), colour))
    assert rgb.mode == "RGB"
    assert rgb.getpixel((0, 0)) == expected


def test_a_transparent_entry_of_a_palette_becomes_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 2), 1)
    image.putpalette([9, 9, 9, 50, 60, 70])
    image.putpixel((0, 0), 0)
    image.save(tmp_path / "p.png", transparency=0)
    with Image.open(tmp_path / "p.png") as opened:
        rgb = as_rgb(opened)
    assert (rgb.getpixel((0, 0)), rgb.getpixel((1, 1))) == ((255, 255, 255), (50, 60, 70))


@pytest.mark.parametrize("mode", ["F", "HSV", "LAB", "La"])
def test_a_mode_without_a_rule_is_refused_by_name(mode: str) -> None:
    with pytest.raises(ValueError, match=f"mode {mode} has no rule"):
        as_rgb(Image.new(mode, (2, 2)))


def test_integers_of_32_bits_are_not_taken_for_16(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2), 200, np.int32)).save(tmp_path / "counts.tiff")
    with (
        Image.open(tmp_path / "counts.tiff") as opened,
        pytest.raises(ValueError, match="mode I has no rule"),
    ):
        as_rgb(opened)


@pytest.mark.parametrize("mode", sorted(Image.MODES))
def test_every_mode_that_pillow_knows_is_converted_or_refused_by_name(mode: str) -> None:
    try:
        rgb = as_rgb(Image.new(mode, (2, 2))).mode
    except ValueError as exc:
        rgb = str(exc)
    assert rgb == "RGB" or rgb.startswith(f"mode {mode} has no rule")


@pytest.mark.parametrize("value", [-1, 65536])
def test_integers_beyond_16_bits_are_refused(value: int) -> None:
    with pytest.raises(ValueError, match="are not 16-bit grey"):
        as_rgb(Image.new("I", (2, 2), value))


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (2, 1)), (6, (1, 0))])
def test_images_are_turned_as_exif_says(
    tmp_path: Path, orientation: int, corner: tuple[int, int]
) -> None:
    pixels = np.zeros((2, 3, 3), dtype=np.uint8)
    pixels[0, 0] = 200
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as opened:
        assert as_rgb(opened).getpixel(corner) == (200, 200, 200)
