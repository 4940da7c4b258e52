"""AFHQ, version 1: faces of cats, dogs and wild animals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from flowbench.api import Split
from flowbench.api.readers import center_square, open_archive, read_images
from flowbench.api.specs import SplitName

CLASSES = ("cat", "dog", "wild")
FOLDERS: tuple[tuple[SplitName, str], ...] = (("train", "train"), ("test", "val"))
SIZE = 256


def convert(files: Mapping[str, Path]) -> Iterator[tuple[SplitName, Split]]:
    """Scales the images of 512x512 pixels down to 256x256, bilinearly with antialiasing.

    Args:
        files: Path of the archive.

    Yields:
        Pieces of both splits: uint8 images of shape (3, 256, 256), and labels 0..2.
    """
    with open_archive(files["afhq.zip"]) as archive:
        for split, folder in FOLDERS:
            for label, kind in enumerate(CLASSES):
                names = [n for n in archive.names if f"/{n}".find(f"/{folder}/{kind}/") >= 0]
                for piece in read_images(archive, names, SIZE, partial(center_square, size=SIZE)):
                    labels = np.full(len(piece), label, dtype=np.int64)
                    yield split, Split(x=piece, context={"label": labels})
