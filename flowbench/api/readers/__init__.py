"""Readers for the files that datasets are published as: archives, and the images in them."""

from flowbench.api.readers.archives import ARCHIVES, DAMAGE, Archive, open_archive
from flowbench.api.readers.images import as_rgb, center_square, read_images

__all__ = [
    "ARCHIVES",
    "DAMAGE",
    "Archive",
    "as_rgb",
    "center_square",
    "open_archive",
    "read_images",
]
