"""Turns the published files of a dataset, once, into memory-mapped arrays."""

from __future__ import annotations

import datetime
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowbench.api.data import DataSplits, Split
from flowbench.api.specs import DatasetSpec, SplitName
from flowbench.data.library.array_writer import ArrayWriter, split_rows
from flowbench.data.library.content import (
    content_hash,
    example_hashes,
    lengths_of,
    plain_arrays,
)
from flowbench.data.library.folder_files import FolderConverter
from flowbench.data.library.manifest import (
    MANIFEST,
    Manifest,
    PreparedSplit,
    SourceFile,
    array_file,
    read_manifest,
)
from flowbench.data.library.prepared import (
    mapped_split,
    open_prepared,
    prepared_folder,
    stamp_files,
)
from flowbench.data.library.sources import find_files
from flowbench.data.library.splits import held_out_positions, validation_size
from flowbench.data.library.transfer import Advance, human_bytes, one_at_a_time, transfer
from flowbench.data.library.validity import check_split
from flowbench.errors import DataError

Pieces = Iterator[tuple[SplitName, Split[Any]]]
Converter = Callable[[Mapping[str, Path]], Pieces]
KEPT_WHOLE_FIRST: tuple[SplitName, ...] = ("test", "validation", "train")


def prepare(
    spec: DatasetSpec,
    converter: Converter,
    data_dir: Path,
    *,
    given: Path | None = None,
    offline: bool = False,
) -> Manifest:
    """Prepares a dataset, unless that is done.

    Two processes at once are safe: the second waits and finds the work done. Until everything is
    written and checked it has another name, so that no reader sees half of it.

    Args:
        spec: What the dataset must be.
        converter: The function that ``spec.convert`` refers to.
        given: Folder with files that the user has.
        offline: Refuse to use the network.

    Raises:
        DataError: A file cannot be had, or the data are not what the spec says.
    """
    folder = prepared_folder(spec, data_dir)

    try:
        # Beside the folder, not in it: the folder is renamed into place while the lock is held.
        with one_at_a_time(data_dir / f".{folder.name}.lock", f"preparing {spec.name}"):
            # Looked at under the lock: whoever waited finds what the other one made.
            if read_manifest(folder) is not None:
                return open_prepared(spec, data_dir)[0]
            _refuse_strange(folder)
            files = find_files(spec, data_dir, given, offline=offline)
            # Before hours of conversion; downloads are on the disk by now and counted as used.
            _check_room(spec, data_dir)
            paths = {name: path for name, (path, _) in files.items()}
            sources = tuple(source for _, source in files.values())
            return _write_folder(spec, converter, paths, sources, folder)
    except OSError as exc:
        raise DataError(
            f"cannot prepare {spec.name!r} in {data_dir}: {exc}; choose another folder by "
            "--data-dir"
        ) from exc


def _refuse_strange(folder: Path) -> None:
    if folder.exists() and not (folder / MANIFEST).is_file():
        raise DataError(
            f"{folder} is not a prepared dataset (it has no {MANIFEST}); move it away, or choose "
            "another folder by --data-dir"
        )


def _check_room(spec: DatasetSpec, data_dir: Path) -> None:
    free = shutil.disk_usage(data_dir).free
    if free < spec.prepared_bytes:
        raise DataError(
            f"{spec.name!r} takes {human_bytes(spec.prepared_bytes)} once prepared, {data_dir} has "
            f"{human_bytes(free)} free; choose another folder by --data-dir"
        )


def _write_folder(
    spec: DatasetSpec,
    converter: Converter,
    paths: Mapping[str, Path],
    sources: tuple[SourceFile, ...],
    folder: Path,
) -> Manifest:
    for abandoned in folder.parent.glob(f".{folder.name}.*.part"):
        shutil.rmtree(abandoned)  # of a process that died: the lock says that none is at work
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    partial.mkdir()
    try:
        manifest = _fill(spec, converter, paths, sources, partial)
        if folder.exists():
            shutil.rmtree(folder)  # prepared in an older format
        partial.rename(folder)
    # Ctrl-C as well: half of a data set has no use, and its name would be in the way.
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return manifest


def _fill(
    spec: DatasetSpec,
    converter: Converter,
    paths: Mapping[str, Path],
    sources: tuple[SourceFile, ...],
    folder: Path,
) -> Manifest:
    with transfer(f"converting {spec.name}", spec.prepared_bytes) as tell:
        _write_arrays(converter(paths), folder, tell)
    # A folder of images is what its user has, damaged files too; published data must be whole.
    lost = converter.unreadable if isinstance(converter, FolderConverter) else {}
    unused = converter.unused if isinstance(converter, FolderConverter) else {}
    published = _read(spec, folder)
    for name, split in published.items():
        check_split(spec, name, split, num_lost=len(lost.get(name, ())))
    with transfer(f"looking for repeated examples in {spec.name}"):
        hashes = {name: example_hashes(split.x) for name, split in published.items()}
    counts = {name: len(split) for name, split in published.items()}
    del published  # the files change now
    # On the disk and not when it is loaded: a job then maps files as they are, and starts at once.
    removed = _separate(spec, folder, hashes)
    final = _read(spec, folder, held_out=True)
    described = {
        name: PreparedSplit(
            count=len(split),
            published=counts[name] + len(lost.get(name, ())) if name in counts else None,
            in_other_splits=removed.get(name, 0),
            unreadable=lost.get(name, {}),
            context=tuple(sorted(split.context)),
        )
        for name, split in final.items()
    }
    return _sign(spec, folder, final, described, sources, unused)


def _write_arrays(pieces: Pieces, folder: Path, tell: Advance) -> None:
    writers: dict[str, ArrayWriter] = {}
    try:
        for name, piece in pieces:
            for key, values in plain_arrays(piece).items():
                file = array_file(name, key)
                if file not in writers:
                    writers[file] = ArrayWriter(folder / file, values.dtype, values.shape[1:])
                writers[file].append(values)
                tell(values.nbytes)
    finally:
        # Also on an error: the folder is removed then, and open files would keep its room.
        for writer in writers.values():
            writer.close()


def _split_names(spec: DatasetSpec, held_out: bool) -> tuple[SplitName, ...]:
    own = spec.num_validation is not None
    return ("train", "validation", "test") if own or held_out else ("train", "test")


def _read(spec: DatasetSpec, folder: Path, held_out: bool = False) -> dict[SplitName, Split[Any]]:
    splits: dict[SplitName, Split[Any]] = {}
    for name in _split_names(spec, held_out):
        try:
            splits[name] = mapped_split(folder, name, spec.context)
        except FileNotFoundError as exc:
            raise DataError(f"dataset {spec.name!r}: its files hold no {name} examples") from exc
    return splits


def _separate(
    spec: DatasetSpec, folder: Path, hashes: dict[SplitName, NDArray[np.uint64]]
) -> dict[SplitName, int]:
    """Leaves examples out that another split has, and takes the validation split off train.

    Test stays as published; what it holds is taken out of validation and train, and what validation
    holds out of train. A published set with such examples (many have some) could not be used at
    all otherwise, and to evaluate on fewer test examples would be another benchmark.

    Returns:
        How many examples each split lost to another.
    """
    taken = np.empty(0, dtype=np.uint64)
    removed: dict[SplitName, int] = {}
    for name in (split for split in KEPT_WHOLE_FIRST if split in hashes):
        # Hashes in place of examples: of ImageNet they are 10 MB, the images 15 GB.
        keep = ~np.isin(hashes[name], taken)
        removed[name] = int((~keep).sum())
        taken = np.concatenate([taken, hashes[name]])
        held_out = np.empty(0, dtype=np.int64)
        if name == "train" and spec.num_validation is None:
            # Chosen among those that stay, or validation would hold examples of test.
            positions = np.flatnonzero(keep)
            chosen = held_out_positions(spec.name, hashes[name][keep], validation_size(spec))
            held_out = positions[chosen]
            keep[held_out] = False
        # A split that loses nothing keeps its files as they were written.
        if not keep.all():
            for key in ("x", *spec.context):
                _move(folder, name, key, keep, held_out)
    return removed


def _move(
    folder: Path,
    name: SplitName,
    key: str,
    keep: NDArray[np.bool_],
    held_out: NDArray[np.int64],
) -> None:
    """Leaves examples out of an array of a split, and moves those held out to validation."""
    lengths = folder / array_file(name, lengths_of(key))
    if lengths.exists():
        found = np.load(lengths)
        to = folder / array_file("validation", lengths_of(key))
        split_rows(lengths, keep, held_out, to)
        ends = np.cumsum(found)
        # An example is as many rows as it is long.
        held_out = np.concatenate(
            [np.arange(ends[i] - found[i], ends[i]) for i in held_out] or [held_out]
        )
        keep = np.repeat(keep, found)
    to = folder / array_file("validation", key)
    split_rows(folder / array_file(name, key), keep, held_out, to)


def _sign(
    spec: DatasetSpec,
    folder: Path,
    splits: dict[SplitName, Split[Any]],
    described: dict[SplitName, PreparedSplit],
    sources: tuple[SourceFile, ...],
    unused: dict[str, int],
) -> Manifest:
    with transfer(f"taking the content hash of {spec.name}"):
        sha256 = content_hash(
            DataSplits(train=splits["train"], validation=splits["validation"], test=splits["test"])
        )
    if spec.sha256 is not None and sha256 != spec.sha256:
        raise DataError(
            f"dataset {spec.name!r} has content hash {sha256[:16]}..., its spec pins "
            f"{spec.sha256[:16]}...: the files are of another version; fetch them again"
        )
    manifest = Manifest(
        name=spec.name,
        flowbench=metadata.version("flowbench"),
        prepared=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        event_shape=tuple(spec.event_shape),
        dtype=str(splits["train"].x.dtype),
        splits=described,
        sha256=sha256,
        sources=sources,
        unused=unused,
        stamps=stamp_files(folder, sorted(path.name for path in folder.glob("*.npy"))),
    )
    manifest.write(folder)
    return manifest
