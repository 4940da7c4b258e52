"""Finds the weights of a feature extractor on this machine, and says whose they are."""

from __future__ import annotations

import functools
import hashlib
import os
import shlex
from pathlib import Path

from flowbench.api import DataError, DataMissingError, RemoteFile
from flowbench.api.specs import WEIGHTS_FOLDER

VARIABLE = "FLOWBENCH_WEIGHTS"  # a folder of weights, or one file
HASH_DIGITS = 8  # of a hash in a name or a message


def find_weights(file: RemoteFile, prepare: str, data_dir: Path) -> Path:
    """Looks for a file of weights.

    Returns:
        What FLOWBENCH_WEIGHTS names if that is a file; else the file of its published name in the
        folder that FLOWBENCH_WEIGHTS names, in that of prepared weights, or where torch.hub keeps
        downloads.

    Raises:
        DataMissingError: It is nowhere; the message says how to get it.
    """
    import torch

    chosen = os.environ.get(VARIABLE)
    if chosen and Path(chosen).is_file():
        return Path(chosen)
    folders = [Path(chosen)] if chosen else []
    folders += [data_dir / WEIGHTS_FOLDER, Path(torch.hub.get_dir()) / "checkpoints"]
    for folder in folders:
        if (folder / file.name).is_file():
            return folder / file.name
    raise DataMissingError(
        f"no {file.name}; run flowbench data prepare {prepare} "
        f"--data-dir {shlex.quote(str(data_dir))}, or name its folder by --weights (it is neither "
        f"in {folders[0]} nor in {folders[-1]})"
    )


def check_published(file: RemoteFile, path: Path) -> str:
    """Holds weights to the published ones.

    Returns:
        Their SHA-256.

    Raises:
        DataError: They are other weights.
    """
    given = sha256_of(path)
    if file.sha256 is not None and given != file.sha256:
        raise DataError(
            f"these are other weights than the published {file.name}, whose SHA-256 is "
            f"{file.sha256[:HASH_DIGITS]}...: {given[:HASH_DIGITS]}... of {path}"
        )
    return given


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read once while it stays the same.

    Returns:
        64 hexadecimal digits.
    """
    stat = path.stat()
    return _sha256(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=32)
def _sha256(path: Path, modified: int, size: int) -> str:
    del modified, size  # they are there to make the cache forget
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
