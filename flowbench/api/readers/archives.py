"""Reads files out of an archive, or out of the folder that it was extracted to.

Nothing is extracted: a converter reads the members that it wants, so no name in an archive can ever
become a path on this machine. An archive with a name that tries is refused all the same.
"""

from __future__ import annotations

import lzma
import pickle
import stat
import struct
import tarfile
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO

from flowbench.errors import DataError

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2")

MOST_MEMBERS = 10_000_000
"""Files of an archive; ImageNet's, of one image each, has 1.3 million."""

MOST_BYTES = 8 << 30
"""Of a file that is read whole: what a small archive claims to hold may not fit into memory."""

DAMAGE: tuple[type[Exception], ...] = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,  # a damaged header may ask for more than there is
    NameError,  # SciPy leaves a variable unset
    OSError,
    RuntimeError,
    SyntaxError,  # NumPy reads its header as Python
    TypeError,
    ValueError,
    lzma.LZMAError,
    pickle.UnpicklingError,
    struct.error,
    tarfile.TarError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What readers of files raise where bytes are missing or wrong; to be caught around them alone."""


@dataclass(frozen=True)
class Archive:
    """The files of an archive or folder.

    Attributes:
        path: Where it lies, for messages.
        names: Paths of its files inside it, with forward slashes, sorted.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "notes.txt").write_bytes(b"two words")
        9
        >>> with open_archive(folder) as archive:
        ...     archive.names, archive.read("notes.txt")
        (('notes.txt',), b'two words')
    """

    path: Path
    names: tuple[str, ...]
    _read: Callable[[str], IO[bytes] | None]

    def open(self, name: str) -> IO[bytes]:
        """Opens a file.

        Returns:
            Its bytes, to be read by one thread.

        Raises:
            DataError: There is no such file, or the archive is damaged.
        """
        try:
            file = self._read(name)
        except DAMAGE as exc:
            raise DataError(f"cannot read {name!r} in {self.path} ({exc}); fetch it again") from exc
        if file is None:
            raise DataError(f"{name!r} in {self.path} is no file; fetch it again")
        return file

    def read(self, name: str) -> bytes:
        """Reads a file whole.

        Returns:
            Its bytes.

        Raises:
            DataError: There is no such file, it has more than `MOST_BYTES`, or the archive is
                damaged.
        """
        with self.open(name) as file:
            try:
                content = file.read(MOST_BYTES + 1)
            except DAMAGE as exc:
                raise DataError(
                    f"{self.path} is damaged at {name!r} ({exc}); fetch it again"
                ) from exc
        if len(content) > MOST_BYTES:
            raise DataError(
                f"{name!r} in {self.path} has more than {MOST_BYTES:,} bytes; this is not the "
                "published archive"
            )
        return content

    def find(self, ending: str) -> str:
        """Finds the one file whose path ends so; an extracted archive may lack its top folder.

        Args:
            ending: End of a path, e.g. ``"power/data.npy"``.

        Returns:
            Its name.

        Raises:
            DataError: There is none, or more than one.
        """
        # With a slash in front of both: `my_power/data.npy` does not end in `power/data.npy`.
        found = [name for name in self.names if f"/{name}".endswith(f"/{ending}")]
        if len(found) != 1:
            given = "none" if not found else f"{len(found)} (the first is {found[0]!r})"
            raise DataError(f"{self.path} holds {given} of {ending!r}, expected one; fetch it anew")
        return found[0]


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Opens an archive (zip, tar or compressed tar), or a folder in its place.

    Args:
        path: A file that ends in .zip is read as one, any other as tar; or a folder.

    Yields:
        Its files.

    Raises:
        DataError: It is damaged, has more than `MOST_MEMBERS` files, or names files outside itself.
    """
    if path.is_dir():
        files = sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())
        yield Archive(path, tuple(files), lambda name: (path / name).open("rb"))
        return
    opened = _zip if path.name.endswith(".zip") else _tar
    with opened(path) as archive:
        yield archive


@contextmanager
def _zip(path: Path) -> Iterator[Archive]:
    try:
        archive = zipfile.ZipFile(path)
    except DAMAGE as exc:
        raise _damaged(path, exc) from exc
    with archive:
        members = [info for info in archive.infolist() if not info.is_dir()]
        if len(members) > MOST_MEMBERS:
            raise _too_many(path)
        for info in members:
            # The upper half holds the Unix mode, where the archive was made on Unix.
            link = stat.S_ISLNK(info.external_attr >> 16)
            # ZipInfo strips what follows a null byte; the name as it stands in the file counts.
            _check_member(path, info.orig_filename, link)
        yield Archive(path, tuple(sorted(info.filename for info in members)), archive.open)


@contextmanager
def _tar(path: Path) -> Iterator[Archive]:
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(tarfile.open(path))
            # All of them now: a tar has no table of contents, and a cut one shows only at its end.
            members = list(islice(archive, MOST_MEMBERS + 1))
        except DAMAGE as exc:
            raise _damaged(path, exc) from exc
        if len(members) > MOST_MEMBERS:
            raise _too_many(path)
        for member in members:
            _check_member(path, member.name, not (member.isreg() or member.isdir()))
        files = {member.name: member for member in members if member.isreg()}
        yield Archive(path, tuple(sorted(files)), lambda name: archive.extractfile(files[name]))


def _check_member(path: Path, name: str, special: bool) -> None:
    # As Windows would read it, on every machine: backslashes part folders, a colon names a drive.
    parts = PurePosixPath(name.replace("\\", "/"))
    outside = parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0]
    if outside or special or "\0" in name:
        what = "a link or device" if special else "a path outside it"
        raise DataError(
            f"{path} holds {name!r}, {what}: this is not the published archive; remove it and "
            "fetch it again"
        )


def _too_many(path: Path) -> DataError:
    return DataError(f"{path} holds more than {MOST_MEMBERS:,} files; extract what you need of it")


def _damaged(path: Path, exc: Exception) -> DataError:
    # Of a file that is no archive, tarfile lists each packing that it tried, a line each.
    reason = str(exc).partition(":\n")[0]
    return DataError(f"{path} is not a complete archive ({reason}); remove it and fetch it again")
