"""Decodes image files into the arrays that flowbench trains on."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowbench.api.readers.archives import DAMAGE, Archive
from flowbench.errors import DataError, printable

if TYPE_CHECKING:
    from PIL.Image import Image

PIECE = 256  # images decoded at a time
MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"})
MAX_16_BIT = 2**16 - 1
MOST_PIXELS = 80_000_000  # of one image; a small file can claim any number
_REASON = 120  # characters
THREADS = 4  # Pillow decodes outside Python's lock


def read_images(
    archive: Archive,
    names: Sequence[str],
    size: int,
    prepare: Callable[[Image], Image] = lambda image: image,
    unreadable: Callable[[str, str], None] | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Decodes images in the order of their names, by the rules of `as_rgb`.

    Args:
        names: Files of the archive, in the order of the images.
        size: Height and width that they have once prepared.
        prepare: Crops and resizes an RGB image.
        unreadable: Told the name of a file that is no whole image, and why; it is left out. None
            refuses it.

    Yields:
        Pieces of shape (N, 3, size, size); together they are all of the images.

    Raises:
        DataError: A file is no image, or of another size.
    """

    def decode(name: str, data: bytes) -> NDArray[np.uint8] | str:
        """The image; or why there is none, where that is no error.

        Raises:
            DataError: It is no whole image, or of another size.
        """
        from PIL import Image  # not needed to list what there is

        undecodable: tuple[type[Exception], ...] = (*DAMAGE, Image.DecompressionBombError)
        try:
            with Image.open(io.BytesIO(data)) as opened:
                _refuse_vast(opened)
                image = prepare(as_rgb(opened))
        except undecodable as exc:
            if unreadable is not None:
                return printable(str(exc), _REASON) or type(exc).__name__
            raise DataError(
                f"{name!r} in {archive.path} cannot be read as an image: {exc}; mend it or take "
                "it away"
            ) from exc
        # `np.stack` would say so too, without the name of the file.
        if image.size != (size, size):
            raise DataError(
                f"{name!r} in {archive.path} is {image.width}x{image.height}, expected "
                f"{size}x{size}"
            )
        return np.asarray(image).transpose(2, 0, 1)

    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(names), PIECE):
            some = names[start : start + PIECE]
            # An archive is read by this thread alone.
            decoded = pool.map(decode, some, [archive.read(name) for name in some])
            whole = []
            for name, image in zip(some, decoded, strict=True):
                if not isinstance(image, str):
                    whole.append(image)
                elif unreadable is not None:
                    unreadable(name, image)
            if whole:
                yield np.stack(whole)


def _refuse_vast(image: Image) -> None:
    """Looks at the size that a file claims, before a pixel is decoded.

    Raises:
        ValueError: It has more than `MOST_PIXELS`.
    """
    if image.width * image.height > MOST_PIXELS:
        raise ValueError(f"it has {image.width}x{image.height} pixels, more than {MOST_PIXELS:,}")


def as_rgb(image: Image) -> Image:
    """An opened image as 8-bit RGB, turned as its EXIF orientation says.

    - Grey, two-coloured and palette images keep what they show, CMYK and YCbCr are converted by
      their formulas; colour profiles are not applied.
    - Of 16 bits the upper 8 are taken (``v >> 8``); what PNG stores as 32-bit integers has 16.
    - What is transparent is laid on white.
    - Of several frames the first is taken.

    Args:
        image: As `PIL.Image.open` gives it; its pixels are read here.

    Returns:
        The image.

    Raises:
        ValueError: Its mode has no such rule: 32-bit integers of other files, floating point, Lab,
            HSV, grey multiplied by its alpha.

    Example:
        >>> from PIL import Image
        >>> as_rgb(Image.new("RGBA", (1, 1), (0, 0, 0, 0))).getpixel((0, 0))
        (255, 255, 255)
    """
    from PIL import Image, ImageOps

    kind = image.format  # a turned copy has none
    # First: cameras store pictures lying, and a crop of the middle would be of another middle.
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and kind in (None, "PNG")):
        # Pillow converts `I` by clipping at 255, which makes a 16-bit image white.
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() > MAX_16_BIT:
            raise ValueError(f"values from {grey.min()} to {grey.max()} are not 16-bit grey")
        return Image.fromarray((grey >> 8).astype(np.uint8)).convert("RGB")
    if image.mode not in MODES:
        raise ValueError(f"mode {image.mode} has no rule for becoming 8-bit RGB; convert it first")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        # What is behind transparent pixels is whatever the program left there, often black.
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def center_square(image: Image, size: int) -> Image:
    """Crops the middle square of an image and scales it down, bilinearly with antialiasing.

    Args:
        size: Height and width of the result.

    Returns:
        The square.

    Raises:
        ValueError: The image is smaller than that.
    """
    from PIL.Image import Resampling

    side = min(image.size)
    if side < size:
        raise ValueError(f"{image.width}x{image.height} is smaller than {size}x{size}")
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    # Cropped first: a resize with a box would mix in pixels from outside it.
    return image.crop(box).resize((size, size), Resampling.BILINEAR)
