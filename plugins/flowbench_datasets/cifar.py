"""CIFAR-10: Krizhevsky's archive of Python pickles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from flowbench.api import DataError, Split
from flowbench.api.readers import DAMAGE, Archive, open_archive
from flowbench.api.specs import SplitName
from flowbench_datasets.safe_pickle import load_arrays

ARCHIVE = "cifar-10-python.tar.gz"
BATCHES: tuple[tuple[SplitName, str], ...] = (
    *(("train", f"data_batch_{number}") for number in range(1, 6)),
    ("test", "test_batch"),
)


def convert(files: Mapping[str, Path]) -> Iterator[tuple[SplitName, Split]]:
    """Reads the batches of CIFAR-10 in their published order.

    Args:
        files: Path of the archive.

    Yields:
        One batch after the other: uint8 images of shape (3, 32, 32), and labels.
    """
    with open_archive(files[ARCHIVE]) as archive:
        for split, name in BATCHES:
            yield split, _batch(archive, name)


def _batch(archive: Archive, name: str) -> Split:
    where = f"{name!r} in {archive.path}"
    with archive.open(archive.find(name)) as file:
        batch = load_arrays(file, where)
    if not isinstance(batch, dict) or not {"data", "labels"} <= set(batch):
        raise DataError(f"{where} is no batch of CIFAR-10; fetch the archive again")
    try:
        x, labels = np.asarray(batch["data"]), np.asarray(batch["labels"], dtype=np.int64)
    except DAMAGE as exc:
        raise DataError(f"{where} is no batch of CIFAR-10 ({exc}); fetch it again") from exc
    if labels.ndim != 1 or x.dtype != np.uint8 or x.shape != (len(labels), 3 * 32 * 32):
        raise DataError(f"{where} has images of shape {x.shape}, expected ({labels.size}, 3072)")
    return Split(x=x.reshape(-1, 3, 32, 32), context={"label": labels})
