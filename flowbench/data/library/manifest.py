"""``manifest.json``: what a prepared dataset holds, and what it was made of."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from flowbench.api.frozen import Frozen
from flowbench.api.specs import SplitName
from flowbench.errors import DataError
from flowbench.files import write_whole

MANIFEST = "manifest.json"
FORMAT = 1  # of the folder; a dataset in another one is prepared anew


class Stamp(Frozen):
    """What tells cheaply that a file has not changed.

    Attributes:
        modified: Its time of change, seconds since 1970.
    """

    size_bytes: int
    modified: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """The stamp of a file as it is now."""
        facts = path.stat()
        # Whole seconds: some file systems and archives keep no more of a time.
        return cls(size_bytes=facts.st_size, modified=int(facts.st_mtime))


class SourceFile(Frozen):
    """A file that a dataset was prepared from.

    Attributes:
        name: Its published name.
        sha256: Hash of its bytes; None for a folder given in its place.
        published: Whether its hash is the published one; without, its content is pinned by what
            was first prepared from it.
    """

    name: str
    sha256: str | None
    published: bool


class PreparedSplit(Frozen):
    """One split as it was prepared.

    Attributes:
        published: Examples that the source has for it; None for a validation split that the harness
            took off train.
        in_other_splits: Examples left out because their bytes are also in a split that is kept
            whole: test first, then validation.
        unreadable: Files of it that are no whole images and were left out, with why.
        context: Names of the conditioning inputs.
    """

    count: int
    published: int | None
    in_other_splits: int = 0
    unreadable: dict[str, str] = Field(default_factory=dict)
    context: tuple[str, ...] = ()


class Manifest(Frozen):
    """What a prepared dataset holds.

    Attributes:
        format: Format of the folder, `FORMAT`.
        flowbench: Version that prepared it.
        dtype: NumPy type of the values.
        splits: The splits; the values of each lie in ``<split>_x.npy``, a conditioning input in
            ``<split>_<name>.npy``, lengths where they differ in ``<split>_<name>.lengths.npy``.
        sha256: Content hash of all splits, see `flowbench.data.library.content`.
        sources: What it was made of.
        unused: How many files there were that are of no example, by why.
        stamps: Size and time of each file.
    """

    format: int = FORMAT
    name: str
    flowbench: str
    prepared: str
    event_shape: tuple[int, ...]
    dtype: str
    splits: dict[SplitName, PreparedSplit]
    sha256: str
    sources: tuple[SourceFile, ...]
    unused: dict[str, int] = Field(default_factory=dict)
    stamps: dict[str, Stamp]

    def write(self, folder: Path) -> None:
        """Writes it into the folder of a prepared dataset."""
        write_whole(folder / MANIFEST, self.model_dump_json(indent=1) + "\n")


def read_manifest(folder: Path) -> Manifest | None:
    """Reads the manifest of a prepared dataset.

    Returns:
        The manifest; None if nothing is prepared there, or in another format.

    Raises:
        DataError: The manifest is damaged.
    """
    try:
        text = (folder / MANIFEST).read_bytes()
    # A file in the place of the folder is told by `prepare`, which needs the place.
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as exc:
        raise DataError(
            f"{folder / MANIFEST} is damaged; remove the folder and prepare the dataset again"
        ) from exc
    # An older format is no damage: the data set is prepared anew over it.
    return manifest if manifest.format == FORMAT else None


def array_file(split: SplitName, name: str) -> str:
    """Name of the file of one array.

    Args:
        name: ``x`` or the name of a conditioning input.

    Returns:
        E.g. ``"train_x.npy"``.
    """
    return f"{split}_{name}.npy"
