"""The files of somebody's folder: which are examples, of which split, and which are not."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowbench.api.specs import SplitName
from flowbench.errors import DataError

if TYPE_CHECKING:
    from flowbench.api.data import Split

TEST_EVERY = 10  # without splits of its own, every tenth file by sorted path is a test example
SPLIT_FOLDERS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
}


@dataclass(frozen=True)
class Kind:
    """What a folder's files are read as.

    Attributes:
        example: What one of them is called, such as ``image``.
        suffixes: How their names end, in lower case.
    """

    example: str
    suffixes: frozenset[str]


@dataclass(frozen=True)
class FolderFiles:
    """The files of a folder.

    Attributes:
        path: The folder, absolute.
        kind: What they are read as.
        splits: Paths of the examples of each split, relative to the folder, sorted.
        unused: How many other files it holds, by why they are not used.
    """

    path: Path
    kind: Kind
    splits: Mapping[SplitName, tuple[str, ...]]
    unused: Mapping[str, int]

    @classmethod
    def find(cls, name: str, path_text: str, kind: Kind) -> FolderFiles:
        """Looks through a folder.

        Args:
            name: The dataset's, for the message.
            path_text: Where it is.
            kind: What its files are read as.

        Raises:
            DataError: There is no such folder, or too few examples in it.
        """
        path = Path(path_text).expanduser().resolve()
        if not path.is_dir():
            raise DataError(
                f"dataset {name!r}: there is no folder {path}; give a folder of {kind.example}s"
            )
        found, unused = _found(path, kind)
        splits = _splits(path, found, kind)
        strangers = len(found) - sum(map(len, splits.values()))
        if strangers:
            unused[f"{kind.example}s outside the folders of the splits"] = strangers
        return cls(path, kind, splits, unused)

    @property
    def counts(self) -> dict[str, Any]:
        """Examples of each split, as arguments of a spec."""
        counts = {split: len(paths) for split, paths in self.splits.items()}
        return {f"num_{split}": counts.get(split) for split in SPLIT_FOLDERS}

    def in_words(self) -> str:
        """What the splits are, and which files are not used."""
        splits = (
            "The splits are its subfolders."
            if _has_split_folders(self.path)
            else f"Every {TEST_EVERY}th {self.kind.example} by sorted path is a test "
            f"{self.kind.example}."
        )
        if not self.unused:
            return splits
        counts = ", ".join(f"{num} {why}" for why, num in sorted(self.unused.items()))
        return f"{splits} Not used: {sum(self.unused.values())} files ({counts})."

    def collection(self, *rules: Any) -> str:
        """Name of the prepared folder: another when a file is added, removed or written anew.

        Args:
            rules: What else decides what the files become.
        """
        # Sizes and times, not contents: to read a million images takes minutes, at every start.
        facts: list[Any] = [str(self.path), *rules]
        for split, names in self.splits.items():
            for name in names:
                stat = (self.path / name).stat()
                facts.append((split, name, stat.st_size, stat.st_mtime_ns))
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
        return f"folder-{self.path.name}-{digest}"


class FolderConverter:
    """Converts a folder; what it is given is not used, since the folder holds all.

    Attributes:
        files: What it converts: the files that the spec counted.
        unreadable: Files of each split that are no whole examples, with why; filled as it converts.
    """

    def __init__(self, files: FolderFiles) -> None:
        self.files = files
        self.unreadable: dict[SplitName, dict[str, str]] = {}

    @property
    def unused(self) -> dict[str, int]:
        """How many files the folder holds that are of no example, by why."""
        return dict(self.files.unused)

    def __call__(self, files: Mapping[str, Path]) -> Iterator[tuple[SplitName, Split[Any]]]:
        """Reads the examples in pieces.

        Yields:
            Pieces of the splits.

        Raises:
            DataError: Nothing of a split can be read.
        """
        del files
        found = self.files
        for split, names in found.splits.items():
            lost = self.unreadable[split] = {}
            for piece in self.read(names, lost):
                yield split, piece
            if len(lost) == len(names):
                name, why = next(iter(lost.items()))
                raise DataError(
                    f"{found.path}: none of {len(names)} {split} {found.kind.example}s can be "
                    f"read; {name!r}: {why}"
                )

    def read(self, names: tuple[str, ...], lost: dict[str, str]) -> Iterator[Split[Any]]:
        """Reads files in pieces.

        Args:
            names: Their paths in the folder.
            lost: Told of those that cannot be read, with why.
        """
        raise NotImplementedError


def _has_split_folders(path: Path) -> bool:
    return (path / "train").is_dir() and any(
        (path / name).is_dir() for name in (*SPLIT_FOLDERS["test"], *SPLIT_FOLDERS["validation"])
    )


def _splits(path: Path, found: list[str], kind: Kind) -> dict[SplitName, tuple[str, ...]]:
    if _has_split_folders(path):
        tops = {name: split for split, names in SPLIT_FOLDERS.items() for name in names}
        grouped: dict[SplitName, list[str]] = {}
        for name in found:
            split = tops.get(name.partition("/")[0])
            if split is not None:
                grouped.setdefault(split, []).append(name)
        # As with ImageNet, whose test labels are not public: its `val` is what papers report on.
        if "test" not in grouped and "validation" in grouped:
            grouped["test"] = grouped.pop("validation")
        splits = {split: tuple(names) for split, names in grouped.items()}
    else:
        test = found[TEST_EVERY - 1 :: TEST_EVERY]
        train = [name for i, name in enumerate(found) if (i + 1) % TEST_EVERY]
        splits = {"train": tuple(train), "test": tuple(test)}
    if not splits.get("train") or not splits.get("test"):
        raise DataError(
            f"{path} holds {len(found)} {kind.example}s ({', '.join(sorted(kind.suffixes))}), too "
            f"few for a train and a test split; give at least {TEST_EVERY}, or subfolders train "
            "and test"
        )
    return splits


def _found(path: Path, kind: Kind) -> tuple[list[str], Counter[str]]:
    """Paths of the examples, sorted, and how many files are not used, by why.

    Links are followed, each folder once, so that links in a circle come to an end.
    """
    found: list[str] = []
    unused: Counter[str] = Counter()
    seen: set[Path] = set()
    # Links are how people select files for a data set without copying them.
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
            why = _why_unused(folder / name, kind)
            if why is None:
                found.append((folder.relative_to(path) / name).as_posix())
            else:
                unused[why] += 1
    # By path: which file is a test example must not depend on the order of the file system.
    return sorted(found), unused


def _why_unused(file: Path, kind: Kind) -> str | None:
    """Why a file cannot be an example; None if it can."""
    try:
        # Neither the manifest nor the database can hold such a name.
        file.name.encode("utf-8")
    except UnicodeEncodeError:
        return "with a name that is not UTF-8"
    # They have the suffix of an example and hold none.
    if file.name.startswith("._"):
        return "of macOS beside others (._)"
    if file.suffix.lower() not in kind.suffixes:
        kinds = ", ".join(sorted(kind.suffixes))
        return f"not of the {'kinds' if len(kind.suffixes) > 1 else 'kind'} {kinds}"
    try:
        empty = file.stat().st_size == 0
    except OSError:
        return "that cannot be reached (broken links)"
    return "empty" if empty else None
