"""``folder:PATH?size=64``: any folder of images as a dataset."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from flowbench.api.specs import DatasetSpec, SplitName
from flowbench.errors import ConfigError, DataError

if TYPE_CHECKING:
    from flowbench.api.data import Split

PREFIX = "folder:"
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
RULES = 2  # version of how images become arrays; see flowbench.api.readers.as_rgb
OUTSIDE = "images outside the folders of the splits"
TEST_EVERY = 10  # without splits of its own, every tenth image by sorted path is a test image
SPLIT_FOLDERS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
}


@dataclass(frozen=True)
class ImageFolder:
    """What a name like ``folder:PATH?size=64`` asks for.

    Attributes:
        path: The folder, absolute.
        size: Height and width of the images once they are cropped and scaled.
        splits: Paths of the images of each split, relative to the folder, sorted.
        unused: How many other files it holds, by why they are not used.
    """

    path: Path
    size: int
    splits: Mapping[SplitName, tuple[str, ...]]
    unused: Mapping[str, int]


def is_folder(name: str) -> bool:
    """Whether a dataset's name is that of a folder of images."""
    return name.startswith(PREFIX)


def folder_spec(name: str) -> DatasetSpec:
    """The spec of a folder of images.

    Subfolders ``train``, ``test`` and ``validation`` (or ``val``) are its splits; with ``train``
    and ``val`` alone, ``val`` is the test split, as with ImageNet. Otherwise every tenth image by
    sorted path is a test image.

    Args:
        name: ``folder:PATH?size=64``.

    Returns:
        The spec. Its collection names the prepared folder, and changes with the images.

    Raises:
        ConfigError: The name is malformed.
        DataError: There is no such folder, or too few images in it.
    """
    folder = _parse(name)
    counts = {split: len(paths) for split, paths in folder.splits.items()}
    return DatasetSpec(
        name=f"{PREFIX}{folder.path}?size={folder.size}",
        modality="image",
        event_shape=(3, folder.size, folder.size),
        levels=256,
        num_train=counts["train"],
        num_validation=counts.get("validation"),
        num_test=counts["test"],
        convert=f"{__name__}:FolderConverter",
        collection=f"folder-{folder.path.name}-{_digest(folder)}",
        summary=f"images of a folder at {folder.size}x{folder.size} pixels",
        licence="that of the images",
        notes=(
            "The middle square of each image in 8-bit RGB (16 bit as v >> 8, turned by EXIF, laid "
            "on white where transparent, the first of several frames), scaled down bilinearly with "
            "antialiasing. "
            + (
                "The splits are its subfolders."
                if _has_split_folders(folder.path)
                else f"Every {TEST_EVERY}th image by sorted path is a test image."
            )
            + _unused_in_words(folder.unused)
        ),
    )


def _unused_in_words(unused: Mapping[str, int]) -> str:
    if not unused:
        return ""
    counts = ", ".join(f"{num} {why}" for why, num in sorted(unused.items()))
    return f" Not used: {sum(unused.values())} files ({counts})."


class FolderConverter:
    """Converts a folder of images; what it is given is not used, since the folder holds all.

    Args:
        name: ``folder:PATH?size=64``.

    Attributes:
        unreadable: Images of each split that could not be read, with why; filled as it converts.
    """

    def __init__(self, name: str) -> None:
        self._folder = _parse(name)  # now: what it converts is what the spec counted
        self.unreadable: dict[SplitName, dict[str, str]] = {}

    @property
    def unused(self) -> dict[str, int]:
        """How many files the folder holds that are of no image, by why."""
        return dict(self._folder.unused)

    def __call__(self, files: Mapping[str, Path]) -> Iterator[tuple[SplitName, Split]]:
        """Reads the images in pieces.

        Yields:
            Pieces of the splits.

        Raises:
            DataError: No image of a split can be read.
        """
        # The registry, which imports this module, needs no readers.
        from flowbench.api.data import Split
        from flowbench.api.readers import center_square, open_archive, read_images

        del files
        folder = self._folder
        crop = partial(center_square, size=folder.size)
        with open_archive(folder.path) as archive:
            for split, names in folder.splits.items():
                lost = self.unreadable[split] = {}
                for piece in read_images(archive, names, folder.size, crop, lost.__setitem__):
                    yield split, Split(x=piece)
                if len(lost) == len(names):
                    name, why = next(iter(lost.items()))
                    raise DataError(
                        f"{folder.path}: none of {len(names)} {split} images can be read; "
                        f"{name!r}: {why}"
                    )


def _parse(name: str) -> ImageFolder:
    path_text, _, query = name.removeprefix(PREFIX).partition("?")
    settings = dict(parse_qsl(query, keep_blank_values=True))
    size = settings.pop("size", "")
    # `settings` holds what is not known: a misspelt `size` must not pass for a missing one.
    if not path_text or settings or not size.isdigit() or not 1 <= int(size) <= 4096:
        raise ConfigError(
            f"malformed dataset {name!r}; expected folder:PATH?size=N with N pixels, e.g. "
            "folder:photos?size=64"
        )
    path = Path(path_text).expanduser().resolve()
    if not path.is_dir():
        raise DataError(f"dataset {name!r}: there is no folder {path}; give a folder of images")
    images, unused = _images(path)
    splits = _splits(path, images)
    strangers = len(images) - sum(map(len, splits.values()))
    if strangers:
        unused[OUTSIDE] = strangers
    return ImageFolder(path, int(size), splits, unused)


def _has_split_folders(path: Path) -> bool:
    return (path / "train").is_dir() and any(
        (path / name).is_dir() for name in (*SPLIT_FOLDERS["test"], *SPLIT_FOLDERS["validation"])
    )


def _splits(path: Path, images: list[str]) -> dict[SplitName, tuple[str, ...]]:
    if _has_split_folders(path):
        tops = {name: split for split, names in SPLIT_FOLDERS.items() for name in names}
        grouped: dict[SplitName, list[str]] = {}
        for image in images:
            split = tops.get(image.partition("/")[0])
            if split is not None:
                grouped.setdefault(split, []).append(image)
        # As with ImageNet, whose test labels are not public: its `val` is what papers report on.
        if "test" not in grouped and "validation" in grouped:
            grouped["test"] = grouped.pop("validation")
        splits = {split: tuple(names) for split, names in grouped.items()}
    else:
        test = images[TEST_EVERY - 1 :: TEST_EVERY]
        train = [image for i, image in enumerate(images) if (i + 1) % TEST_EVERY]
        splits = {"train": tuple(train), "test": tuple(test)}
    if not splits.get("train") or not splits.get("test"):
        raise DataError(
            f"{path} holds {len(images)} images ({', '.join(sorted(SUFFIXES))}), too few for a "
            f"train and a test split; give at least {TEST_EVERY}, or subfolders train and test"
        )
    return splits


def _images(path: Path) -> tuple[list[str], Counter[str]]:
    """Paths of the images, sorted, and how many files are not used, by why.

    Links are followed, each folder once, so that links in a circle come to an end.
    """
    found: list[str] = []
    unused: Counter[str] = Counter()
    seen: set[Path] = set()
    # Links are how people select images for a data set without copying them.
    for top, folders, names in os.walk(path, followlinks=True):
        folder = Path(top)
        real = folder.resolve()
        if real in seen:
            unused["in a folder that was read already, by another link"] += len(names)
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        for name in names:
            why = _why_unused(folder / name)
            if why is None:
                found.append((folder.relative_to(path) / name).as_posix())
            else:
                unused[why] += 1
    # By path: which image is a test image must not depend on the order of the file system.
    return sorted(found), unused


def _why_unused(file: Path) -> str | None:
    """Why a file cannot be an image; None if it can."""
    try:
        # Neither the manifest nor the database can hold such a name.
        file.name.encode("utf-8")
    except UnicodeEncodeError:
        return "with a name that is not UTF-8"
    # They have the suffix of an image and hold none.
    if file.name.startswith("._"):
        return "of macOS beside others (._)"
    if file.suffix.lower() not in SUFFIXES:
        return f"not of the kinds {', '.join(sorted(SUFFIXES))}"
    try:
        empty = file.stat().st_size == 0
    except OSError:
        return "that cannot be reached (broken links)"
    return "empty" if empty else None


def _digest(folder: ImageFolder) -> str:
    """Changes when an image is added, removed or written anew, and with the rules of decoding."""
    # Sizes and times, not contents: to read a million images takes minutes, at every start.
    facts = [RULES, str(folder.path), folder.size]
    for split, names in folder.splits.items():
        for name in names:
            stat = (folder.path / name).stat()
            facts.append((split, name, stat.st_size, stat.st_mtime_ns))
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
