"""The published files that a dataset is made of: downloaded, or given by the user."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from flowbench.api.readers import ARCHIVES
from flowbench.api.specs import DatasetSpec, RemoteFile
from flowbench.data.library.download import check_file, fetch_file
from flowbench.data.library.manifest import SourceFile
from flowbench.data.library.prepared import prepare_command
from flowbench.errors import DataError, DataMissingError


def downloads_folder(spec: DatasetSpec, data_dir: Path) -> Path:
    """Where the published files of a dataset are kept.

    Returns:
        The folder; datasets of one collection share it.
    """
    return data_dir / "downloads" / (spec.collection or spec.name)


def find_files(
    spec: DatasetSpec, data_dir: Path, given: Path | None, *, offline: bool
) -> dict[str, tuple[Path, SourceFile]]:
    """Gets every file of a dataset, and checks it.

    Args:
        data_dir: Folder of prepared data, where downloads go.
        given: Folder with files that the user has, or one that an archive was extracted to beside
            them, or the one file that is wanted. With it, nothing is downloaded.
        offline: Refuse to use the network.

    Returns:
        By published name where each file lies (a folder, if it was given in place of an archive),
        and what the manifest says of it.

    Raises:
        DataMissingError: Files are wanted that only the user can fetch.
        DataError: A file cannot be had, or is another one than published.
    """
    local = _local_files(spec, given) if given is not None else {}
    missing = [file for file in spec.files if file.name not in local]
    folder = downloads_folder(spec, data_dir)
    absent = [file for file in missing if not (folder / file.name).is_file()]
    # All of them in one message: to learn of the next file only after fetching the last is a day
    # lost.
    by_hand = [file for file in absent if file.url is None or given is not None]
    if by_hand:
        raise DataMissingError(_wanted(spec, data_dir, given, by_hand))
    found = {name: _checked(file, path) for name, (file, path) in local.items()}
    for file in missing:
        path = folder / file.name
        if not path.is_file():
            fetch_file(file, folder, offline=offline, retry=prepare_command(spec, data_dir))
        # Downloads as well: what lies in the folder may be of an earlier year, or cut.
        found[file.name] = _checked(file, path)
    return found


def _local_files(spec: DatasetSpec, given: Path) -> dict[str, tuple[RemoteFile, Path]]:
    if not given.exists():
        raise DataError(
            f"--from {given} does not exist; give a folder that holds {_names(spec.files)}"
        )
    if given.is_file():
        # One file may stand for itself only where one file is all that is wanted.
        if [file.name for file in spec.files] != [given.name]:
            raise DataError(
                f"--from {given} is a file; give a folder that holds {_names(spec.files)}"
            )
        return {given.name: (spec.files[0], given)}
    folders = [given]
    whole = given.absolute()  # `.` has a name, too; a link keeps its own
    if whole.name in {name for file in spec.files for name in _extracted(file)}:
        folders.append(whole.parent)  # as people name what they have extracted
    found = {}
    for file in spec.files:
        candidates = (path for folder in folders for path in _candidates(file, folder))
        if (path := next(candidates, None)) is not None:
            found[file.name] = (file, path)
    return found


def _candidates(file: RemoteFile, folder: Path) -> Iterator[Path]:
    """The file itself, its content without gzip, or an archive's content otherwise packed."""
    names, stem = [file.name], archive_stem(file.name)
    if stem is not None:
        names += [stem + suffix for suffix in ARCHIVES]
    elif file.name.endswith(".gz"):
        names.append(file.name.removesuffix(".gz"))
    yield from (path for name in names if (path := folder / name).is_file())
    yield from (path for name in _extracted(file) if (path := folder / name).is_dir())


def _extracted(file: RemoteFile) -> tuple[str, ...]:
    """Names that the folder of an archive's content has, the usual first; none of another file."""
    stem = archive_stem(file.name)
    return () if stem is None else tuple(dict.fromkeys((file.folder or stem, stem)))


def archive_stem(name: str) -> str | None:
    """An archive's name without its suffixes; None for another file."""
    # The longest first: of `.tar.gz` the stem must lose both parts.
    suffixes = sorted(ARCHIVES, key=len, reverse=True)
    return next((name.removesuffix(end) for end in suffixes if name.endswith(end)), None)


def _checked(file: RemoteFile, path: Path) -> tuple[Path, SourceFile]:
    if path.is_dir():
        # An extracted archive has no hash of its own; the content hash pins what was read from it.
        return path, SourceFile(name=file.name, sha256=None, published=False)
    same_packing = path.name == file.name
    expected = file if same_packing else _repacked(file, path)
    known = (expected.sha256, expected.md5, expected.content_sha256)
    sha256 = check_file(expected, path)
    return path, SourceFile(name=file.name, sha256=sha256, published=any(known))


def _repacked(file: RemoteFile, path: Path) -> RemoteFile:
    """What can be known of another packing: of a bare file the hash of its content."""
    bare = file.name == f"{path.name}.gz"
    return RemoteFile(name=path.name, sha256=file.content_sha256 if bare else None)


def _wanted(
    spec: DatasetSpec, data_dir: Path, given: Path | None, missing: list[RemoteFile]
) -> str:
    where = "needed by hand" if given is None else f"not in {given}"
    are = "is" if len(missing) == 1 else "are"
    how_to = f"; {spec.how_to}" if spec.how_to else ""
    if given is not None and all(file.url for file in missing):
        how_to += "; leave --from out to download what is missing, or fetch it"
    return (
        f"dataset {spec.name!r}: {_names(missing)} {are} {where}{how_to}; then run: "
        f"{prepare_command(spec, data_dir, by_hand=True)}"
    )


def _names(files: Iterable[RemoteFile]) -> str:
    return ", ".join(_described(file) for file in files)


def _described(file: RemoteFile) -> str:
    folder = next(iter(_extracted(file)), None)
    return file.name if folder is None else f"{file.name} (or its content as folder {folder}/)"
