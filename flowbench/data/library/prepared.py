"""Prepared datasets: one folder each, of memory-mapped arrays and a manifest.

The arrays are written once, in full: train without what the harness holds out, validation, test.
Every split is then a plain ``np.memmap``, which reads what is asked for and nothing else.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from flowbench.api.data import DataSplits, Split
from flowbench.api.specs import DatasetSpec, SplitName
from flowbench.data.library.content import content_hash, lengths_of, split_of
from flowbench.data.library.folder import is_folder
from flowbench.data.library.manifest import Manifest, Stamp, array_file, read_manifest
from flowbench.errors import DataError, DataMissingError

_MEND = "remove the folder and prepare the dataset again (flowbench data prepare)"


def prepared_folder(spec: DatasetSpec, data_dir: Path) -> Path:
    """Where a dataset lies once it is prepared.

    Returns:
        The folder, which may not exist.
    """
    # That of a user's folder changes with its files, so that old and new lie side by side.
    return data_dir / (spec.collection if is_folder(spec.name) else spec.name)


def is_ready(spec: DatasetSpec, data_dir: Path) -> bool:
    """Whether a dataset can be loaded now.

    Returns:
        True for a dataset that needs no preparation, or has had it.
    """
    if spec.convert is None:
        return spec.load is not None
    try:
        return read_manifest(prepared_folder(spec, data_dir)) is not None
    except DataError:
        return False


def open_prepared(spec: DatasetSpec, data_dir: Path) -> tuple[Manifest, DataSplits]:
    """Maps the splits of a prepared dataset into memory.

    The content hash was taken when the arrays were written; here only sizes and times of the files
    are held to the manifest, which takes no time. `verify_prepared` reads everything.

    Args:
        spec: What the dataset must be.

    Returns:
        The manifest and the splits.

    Raises:
        DataMissingError: It is not prepared.
        DataError: Its files changed since, or it was prepared for another spec.
    """
    folder = prepared_folder(spec, data_dir)
    manifest = read_manifest(folder)
    if manifest is None:
        raise DataMissingError(
            f"dataset {spec.name!r} is not prepared; run: {prepare_command(spec, data_dir)}"
        )
    _check_stamps(manifest, folder)
    _check_facts(spec, manifest, folder)
    return manifest, _mapped(manifest, folder)


def verify_prepared(spec: DatasetSpec, data_dir: Path) -> Manifest:
    """Reads a prepared dataset as a whole and holds it to its content hash.

    Files that were copied, and so have other times, are stamped anew if their content is right.

    Raises:
        DataMissingError: It is not prepared.
        DataError: Its content is not what was prepared.
    """
    folder = prepared_folder(spec, data_dir)
    manifest = read_manifest(folder)
    if manifest is None:
        return open_prepared(spec, data_dir)[0]  # which says what is missing
    _check_facts(spec, manifest, folder)
    # Not the stamps first: files that were copied have other times, and may well be right.
    given = _content_of(manifest, folder)
    if given != manifest.sha256:
        raise DataError(
            f"dataset {spec.name!r} in {folder} has content hash {given[:16]}..., it was prepared "
            f"with {manifest.sha256[:16]}...; {_MEND}"
        )
    stamps = stamp_files(folder, manifest.stamps)
    if stamps != manifest.stamps:
        manifest = manifest.model_copy(update={"stamps": stamps})
        manifest.write(folder)
    return manifest


def prepared_spec(spec: DatasetSpec, manifest: Manifest) -> DatasetSpec:
    """The spec with the counts that were prepared: what was held out or left out is off train.

    Args:
        spec: The dataset as published.

    Returns:
        The spec that the prepared splits fulfil.
    """
    counts = {name: split.count for name, split in manifest.splits.items()}
    return replace(
        spec,
        num_train=counts["train"],
        num_validation=counts["validation"],
        num_test=counts["test"],
        sha256=manifest.sha256,
    )


def prepare_command(spec: DatasetSpec, data_dir: Path, *, by_hand: bool = False) -> str:
    """The command that prepares a dataset.

    Args:
        data_dir: Folder of prepared data; named, so that what is kept there is found again.
        by_hand: The user gives the files, even if they could be downloaded.

    Returns:
        A line for the shell.
    """
    given = by_hand or any(file.url is None for file in spec.files)
    source = " --from FOLDER" if given else ""
    # Names and folders may hold blanks; the line is there to be pasted.
    place = shlex.quote(str(data_dir))
    return f"flowbench data prepare {shlex.quote(spec.name)}{source} --data-dir {place}"


def stamp_files(folder: Path, names: Iterable[str]) -> dict[str, Stamp]:
    """Sizes and times of prepared files, by name."""
    return {name: Stamp.of(folder / name) for name in names}


def _check_stamps(manifest: Manifest, folder: Path) -> None:
    for name, stamp in manifest.stamps.items():
        path = folder / name
        # A file that was edited in place would train another data set under the old hash.
        if not path.is_file() or Stamp.of(path) != stamp:
            state = "has changed" if path.is_file() else "is missing"
            raise DataError(
                f"{path} {state} since dataset {manifest.name!r} was prepared; run: flowbench data "
                f"verify {shlex.quote(manifest.name)} --data-dir {shlex.quote(str(folder.parent))}"
            )


def _check_facts(spec: DatasetSpec, manifest: Manifest, folder: Path) -> None:
    given = {name: split.published for name, split in manifest.splits.items()}
    wanted = spec.counts
    if manifest.event_shape != tuple(spec.event_shape) or given != wanted:
        raise DataError(
            f"dataset {spec.name!r} in {folder} has shape {manifest.event_shape} and counts "
            f"{given}, its spec {tuple(spec.event_shape)} and {wanted}; {_MEND}"
        )
    if spec.sha256 is not None and spec.sha256 != manifest.sha256:
        raise DataError(
            f"dataset {spec.name!r} in {folder} has content hash {manifest.sha256[:16]}..., its "
            f"spec pins {spec.sha256[:16]}...; {_MEND}"
        )


def _content_of(manifest: Manifest, folder: Path) -> str:
    try:
        return content_hash(_mapped(manifest, folder))
    except (OSError, ValueError) as exc:
        raise DataError(
            f"dataset {manifest.name!r} in {folder} cannot be read ({exc}); {_MEND}"
        ) from exc


def _mapped(manifest: Manifest, folder: Path) -> DataSplits:
    splits = {n: mapped_split(folder, n, split.context) for n, split in manifest.splits.items()}
    return DataSplits(train=splits["train"], validation=splits["validation"], test=splits["test"])


def mapped_split(folder: Path, split: SplitName, context: Iterable[str]) -> Split[Any]:
    """Maps the arrays of one split into memory.

    Args:
        context: Names of its conditioning inputs.
    """
    arrays = {
        # Pickles could run code; and a map reads of ImageNet what a batch asks for.
        name: np.load(folder / array_file(split, name), mmap_mode="r", allow_pickle=False)
        for name in ("x", *context)
    }
    for name in tuple(arrays):
        lengths = folder / array_file(split, lengths_of(name))
        if lengths.exists():  # read, not mapped: every look needs them
            arrays[lengths_of(name)] = np.load(lengths, allow_pickle=False)
    return split_of(arrays)
