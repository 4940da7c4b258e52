"""Loads a dataset's splits, holds them to the spec, and pins what they contain.

Whatever a loader returns is checked here before any job sees it: counts, types, ranges, the content
hash, and that no example is in two splits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowbench.api.data import DataSplits
from flowbench.api.specs import DatasetInfo, DatasetSpec, SplitName
from flowbench.data.library.content import content_hash, example_hashes
from flowbench.data.library.prepared import open_prepared, prepared_spec
from flowbench.data.library.validity import check_split
from flowbench.errors import DataError

VALIDATION_SHARE = 10  # one training example in ten ...
MAX_VALIDATION = 10_000  # ... but no more than this is held out
VALIDATION_SEED = 20_141_030  # pins the split for every job; the day NICE (1410.8516) appeared

Loader = Callable[[Path], DataSplits]


@dataclass(frozen=True, kw_only=True)
class LoadedData:
    """A dataset that has passed every check.

    Attributes:
        info: What a model may know of it.
        splits: Train, validation and test; never without a validation split.
        sha256: Content hash of what the loader returned, or of the prepared arrays.
    """

    info: DatasetInfo
    splits: DataSplits
    sha256: str


def validation_size(spec: DatasetSpec) -> int:
    """Number of validation examples, known without any data.

    Returns:
        The dataset's own number, else a tenth of the training examples but at most 10,000.
    """
    if spec.num_validation is not None:
        return spec.num_validation
    return min(spec.num_train // VALIDATION_SHARE, MAX_VALIDATION)


def load_splits(spec: DatasetSpec, loader: Loader, data_dir: Path) -> LoadedData:
    """Loads and checks a dataset, and makes its validation split if it has none.

    Args:
        spec: What the dataset must be.
        loader: The function that ``spec.load`` refers to.
        data_dir: Folder of downloaded data.

    Raises:
        DataError: The data are not what the spec says, or a split holds an example of another.
    """
    loaded = loader(data_dir)
    _check_splits(spec, loaded)
    # Of what the loader gave, before the validation split is taken off: the hash is the dataset's.
    sha256 = content_hash(loaded)
    if spec.sha256 is not None and sha256 != spec.sha256:
        raise DataError(
            f"dataset {spec.name!r} has content hash {sha256[:16]}..., its spec pins "
            f"{spec.sha256[:16]}...: the data are damaged or of another version; fetch them again "
            "(flowbench data prepare)"
        )
    hashes = {name: example_hashes(split.x) for name, split in loaded.named().items()}
    # A test example among those trained on would be remembered, not predicted.
    _check_disjoint(spec.name, hashes)
    size = validation_size(spec)
    # A dataset's own validation split is kept: papers chose their models on it.
    splits = loaded
    if loaded.validation is None:
        splits = _split_off_validation(spec.name, loaded, hashes["train"], size)
    return LoadedData(info=spec.info(size), splits=splits, sha256=sha256)


def load_prepared(spec: DatasetSpec, data_dir: Path) -> LoadedData:
    """Loads a prepared dataset; its checks were made when it was prepared.

    Args:
        spec: What the dataset must be.

    Raises:
        DataMissingError: It is not prepared.
        DataError: Its files changed since.
    """
    manifest, splits = open_prepared(spec, data_dir)
    actual = prepared_spec(spec, manifest)
    # The arrays on the disk do not say who took the validation split off; the spec does.
    splits = dataclasses.replace(splits, validation_of_train=spec.num_validation is None)
    return LoadedData(
        info=actual.info(len(splits["validation"])), splits=splits, sha256=manifest.sha256
    )


def not_readable_yet(spec: DatasetSpec) -> DataError:
    """The error for a dataset whose facts are known but which cannot be read yet.

    Args:
        spec: A spec without ``load``.
    """
    return DataError(
        f"dataset {spec.name!r} cannot be loaded yet: flowbench knows its facts (shape, levels, "
        "counts) but not how to read it; choose one that can be loaded (flowbench list datasets)"
    )


def _check_splits(spec: DatasetSpec, splits: DataSplits) -> None:
    if (spec.num_validation is None) != (splits.validation is None):
        given = "one" if splits.validation is not None else "none"
        raise DataError(
            f"dataset {spec.name!r}: the loader gave {given} as validation split, the spec says "
            f"num_validation = {spec.num_validation}; make the two agree"
        )
    for name, split in splits.named().items():
        check_split(spec, name, split)


def _check_disjoint(dataset: str, hashes: dict[SplitName, NDArray[np.uint64]]) -> None:
    names = list(hashes)
    for position, first in enumerate(names):
        for second in names[position + 1 :]:
            shared = np.flatnonzero(np.isin(hashes[second], hashes[first]))
            if len(shared):
                raise DataError(
                    f"dataset {dataset!r}: {len(shared)} of {len(hashes[second])} {second} "
                    f"examples are also in {first}, the first is {second}[{shared[0]}]; splits "
                    "must share no example, remove them from one side"
                )


def _split_off_validation(
    dataset: str, splits: DataSplits, hashes: NDArray[np.uint64], size: int
) -> DataSplits:
    held_out = np.zeros(len(hashes), dtype=bool)
    held_out[held_out_positions(dataset, hashes, size)] = True
    return dataclasses.replace(
        splits,
        train=splits.train.take(np.flatnonzero(~held_out)),
        validation=splits.train.take(np.flatnonzero(held_out)),
        validation_of_train=True,
    )


def held_out_positions(dataset: str, hashes: NDArray[np.uint64], size: int) -> NDArray[np.int64]:
    """Which training examples validation takes; depends on nothing but the data.

    Only examples that occur once in train are taken, so that both copies of a duplicate stay on
    one side. Prepared datasets have this choice built in: to change it, raise
    `flowbench.data.library.manifest.FORMAT`.

    Args:
        dataset: The dataset's id, for the message.
        hashes: Hash of each training example, shape (N,).
        size: How many are wanted.

    Returns:
        Their positions in ascending order, shape (size,).

    Raises:
        DataError: There are too few such examples.
    """
    # The legacy generator: NumPy promises its stream for good, that of `default_rng` may change.
    order = np.random.RandomState(VALIDATION_SEED).permutation(len(hashes))
    _, first, counts = np.unique(hashes, return_index=True, return_counts=True)
    unique = np.zeros(len(hashes), dtype=bool)
    # See above: of a repeated example neither copy is taken.
    unique[first[counts == 1]] = True
    chosen = order[unique[order]][:size]
    if size < 1 or len(chosen) < size:
        raise DataError(
            f"dataset {dataset!r}: {len(chosen)} distinct training examples for a validation split "
            f"that needs {max(size, 1)}; give the dataset a validation split of its own"
        )
    return np.sort(chosen)
