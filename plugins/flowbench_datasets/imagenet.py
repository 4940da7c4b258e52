"""Down-sampled ImageNet: Chrabaszcz et al.'s arrays, van den Oord et al.'s PNGs, and the original.

Only train and validation images have been published; the latter are the test split.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from flowbench.api import DataError, Split
from flowbench.api.readers import DAMAGE, Archive, center_square, open_archive, read_images
from flowbench.api.specs import SplitName

ORIGINAL_SIZE = 128
IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png")


def convert_arrays(files: Mapping[str, Path]) -> Iterator[tuple[SplitName, Split]]:
    """Reads image-net.org's npz batches.

    Args:
        files: Paths of the archives; those of train hold the batches ``train_data_batch_1`` to 10.

    Yields:
        One batch after the other: uint8 images of shape (3, S, S), and labels 0..999.
    """
    train = sorted(name for name in files if "train" in name)
    yield from _batches("train", [files[name] for name in train])
    yield from _batches("test", [files[name] for name in files if "val" in name])


def _batches(split: SplitName, paths: list[Path]) -> Iterator[tuple[SplitName, Split]]:
    for path in paths:
        with open_archive(path) as archive:
            for name in _by_number([n for n in archive.names if n.endswith(".npz")]):
                yield split, _batch(archive, name)


def _by_number(names: list[str]) -> list[str]:
    def number(name: str) -> int:
        return int("".join(filter(str.isdigit, Path(name).stem)) or 0)

    return sorted(names, key=lambda name: (number(name), name))


def _batch(archive: Archive, name: str) -> Split:
    where = f"{name!r} in {archive.path}"
    try:
        with np.load(io.BytesIO(archive.read(name)), allow_pickle=False) as batch:
            x, labels = batch["data"], batch["labels"].astype(np.int64) - 1
            side = round((x[:1].size / 3) ** 0.5)
    except DAMAGE as exc:
        raise DataError(f"{where} is no batch of ImageNet ({exc}); fetch it again") from exc
    if x.dtype != np.uint8 or (*labels.shape, 3 * side * side) != x.shape or x.ndim != 2:
        raise DataError(
            f"{where} has images of shape {x.shape} and type {x.dtype} and labels of shape "
            f"{labels.shape}, expected N rows of 3 S S bytes and N labels"
        )
    return Split(x=x.reshape(-1, 3, side, side), context={"label": labels})


def convert_pngs32(files: Mapping[str, Path]) -> Iterator[tuple[SplitName, Split]]:
    """Reads the PNGs of 32x32 pixels by van den Oord et al., sorted by name."""
    return _pngs(files, 32)


def convert_pngs64(files: Mapping[str, Path]) -> Iterator[tuple[SplitName, Split]]:
    """Reads the PNGs of 64x64 pixels by van den Oord et al., sorted by name."""
    return _pngs(files, 64)


def _pngs(files: Mapping[str, Path], size: int) -> Iterator[tuple[SplitName, Split]]:
    splits: tuple[tuple[SplitName, str], ...] = (("train", "train"), ("test", "valid"))
    for split, prefix in splits:
        with open_archive(files[f"{prefix}_{size}x{size}.tar"]) as archive:
            names = [name for name in archive.names if name.lower().endswith(".png")]
            for piece in read_images(archive, names, size):
                yield split, Split(x=piece)


def convert_original(files: Mapping[str, Path]) -> Iterator[tuple[SplitName, Split]]:
    """Reads the original images, sorted into a folder for each class.

    The middle square of each is scaled down bilinearly with antialiasing.

    Args:
        files: Paths of train and val.

    Yields:
        Pieces of both splits: uint8 images of shape (3, 128, 128), and labels 0..999 in the order
        of the classes' WordNet ids.
    """
    with open_archive(files["train.zip"]) as train, open_archive(files["val.zip"]) as test:
        classes = sorted({_class(name) for name in _images(train)})
        yield from _labelled("train", train, classes)
        yield from _labelled("test", test, classes)


def _labelled(
    split: SplitName, archive: Archive, classes: list[str]
) -> Iterator[tuple[SplitName, Split]]:
    names = _images(archive)
    index = {name: position for position, name in enumerate(classes)}
    unknown = {_class(name) for name in names} - set(index)
    if unknown:
        raise DataError(
            f"{archive.path} has images in {min(unknown)!r}, which is no class of train; expected "
            "one folder for each class, named by its WordNet id"
        )
    labels = np.array([index[_class(name)] for name in names], dtype=np.int64)
    start = 0
    for piece in read_images(archive, names, ORIGINAL_SIZE, partial(center_square, size=128)):
        stop = start + len(piece)
        yield split, Split(x=piece, context={"label": labels[start:stop]})
        start = stop


def _images(archive: Archive) -> list[str]:
    return [name for name in archive.names if name.lower().endswith(IMAGE_SUFFIXES)]


def _class(name: str) -> str:
    return Path(name).parent.name
