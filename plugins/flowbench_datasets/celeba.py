"""CelebA: aligned images and the official partition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from flowbench.api import DataError, Split
from flowbench.api.readers import open_archive, read_images
from flowbench.api.specs import SplitName

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGES, PARTITION = "img_align_celeba.zip", "list_eval_partition.txt"
CODES: dict[str, SplitName] = {"0": "train", "1": "validation", "2": "test"}
LEFT, TOP, SIDE = 15, 40, 148  # of the crop in an image of 178x218 pixels
SIZE = 64
BITS_DROPPED = 3  # of 8, which leaves 5


def convert(files: Mapping[str, Path]) -> Iterator[tuple[SplitName, Split]]:
    """Crops each aligned image to 148x148 and scales it down to 64x64, bilinearly.

    Args:
        files: Paths of the images and of the partition.

    Yields:
        Pieces of the three splits: uint8 images of shape (3, 64, 64).

    Raises:
        DataError: An image that the partition names is missing, or not of 178x218 pixels.
    """
    members = _partition(files[PARTITION])
    with open_archive(files[IMAGES]) as archive:
        inside = {Path(name).name: name for name in archive.names}
        for split, names in members.items():
            absent = [name for name in names if name not in inside]
            if absent:
                raise DataError(
                    f"{archive.path} lacks {len(absent)} of the {len(names)} {split} images that "
                    f"{PARTITION} names, the first is {absent[0]}; fetch it again"
                )
            for piece in read_images(archive, [inside[name] for name in names], SIZE, _crop):
                yield split, Split(x=piece)


def convert_5bit(files: Mapping[str, Path]) -> Iterator[tuple[SplitName, Split]]:
    """The same images with the 5 leading bits of each value."""
    for split, piece in convert(files):
        yield split, Split(x=piece.x >> BITS_DROPPED)


def convert_hq(files: Mapping[str, Path]) -> Iterator[tuple[SplitName, Split]]:
    """Reads CelebA-HQ's images of 256x256 pixels, sorted by name, with 5 bits of each value.

    Args:
        files: Paths of Glow's train and validation images.

    Yields:
        Pieces of both splits: uint8 images of shape (3, 256, 256), levels 0..31.
    """
    splits: tuple[tuple[SplitName, str], ...] = (("train", "train.zip"), ("test", "validation.zip"))
    for split, file in splits:
        with open_archive(files[file]) as archive:
            names = [n for n in archive.names if n.lower().endswith((".png", ".jpg"))]
            for piece in read_images(archive, names, 256):
                yield split, Split(x=piece >> BITS_DROPPED)


def _partition(path: Path) -> dict[SplitName, list[str]]:
    found: dict[SplitName, list[str]] = {split: [] for split in CODES.values()}
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        name, _, code = line.strip().partition(" ")
        if line.strip():
            if code.strip() not in CODES:
                raise DataError(f"{path} has the line {line!r}, expected '000001.jpg 0'")
            found[CODES[code.strip()]].append(name)
    return found


def _crop(image: Image) -> Image:
    from PIL.Image import Resampling

    if image.size != (178, 218):
        raise ValueError(f"{image.width}x{image.height} is not an aligned image of 178x218")
    square = image.crop((LEFT, TOP, LEFT + SIDE, TOP + SIDE))
    return square.resize((SIZE, SIZE), Resampling.BILINEAR)
