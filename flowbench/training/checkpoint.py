"""Files that hold tensors: written whole or not at all, read without running code."""

from __future__ import annotations

import os
import pickle
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, cast

import torch

from flowbench.errors import BRIEF, StoreError, text_of
from flowbench.files import sync_folder

_NO_COMMENT = b"\0\0"  # its length, at the end of an archive
_COMMENT = (2 * sha256().digest_size).to_bytes(2, "little")
_CHUNK = 2**20


def save_checkpoint(path: Path, state: dict[str, Any], *, spare: Path | None = None) -> None:
    """Writes a state under a temporary name, then renames it.

    Its checksum is kept as the comment that a ZIP archive, which it is, may have at its end.

    Args:
        state: Tensors, numbers, texts and containers of them.
        spare: Where the file of that name is kept that was there before.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            summed = _Summed(file)
            torch.save(state, cast("IO[bytes]", summed))  # it writes, and does nothing else
            # In place of the length of a comment, which is 0, at the very end.
            file.seek(-len(_NO_COMMENT), os.SEEK_END)
            file.write(_COMMENT + summed.sha256.hexdigest().encode())
            # A machine that is taken away right after must not leave a whole name on half a file.
            file.flush()
            os.fsync(file.fileno())
        if spare is not None and path.exists():
            path.replace(spare)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)  # on a full disk it is in the way of all others
        raise
    sync_folder(path.parent)


class _Summed:
    """A file that is summed up while it is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.sha256 = file, sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a state onto the CPU.

    Args:
        path: A file of `save_checkpoint`; one of an earlier version has no checksum.

    Raises:
        StoreError: The file is missing or damaged, or holds more than plain data.
    """
    try:
        _check_sum(path)
        # Onto the CPU: a checkpoint of a GPU is taken up on whatever device there is.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as exc:
        cause = text_of(exc, BRIEF)
        raise StoreError(
            f"cannot read checkpoint {str(path)!r}: {cause}; run the job anew"
        ) from exc
    if not isinstance(state, dict):
        raise StoreError(f"checkpoint {str(path)!r} holds no state; run the job anew")
    return state


def _check_sum(path: Path) -> None:
    """Compares a file with its checksum, if it has one.

    Raises:
        ValueError: It is not what was written.
    """
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END) - len(_COMMENT) - 2 * sha256().digest_size
        file.seek(max(0, length))
        if not file.read(len(_COMMENT)) == _COMMENT:
            return
        expected = file.read()
        file.seek(0)
        found = sha256()
        while length > 0 and (chunk := file.read(min(length, _CHUNK))):
            found.update(chunk)
            length -= len(chunk)
        found.update(_NO_COMMENT)
    if found.hexdigest().encode() != expected:
        raise ValueError("it is not what was written (checksum)")


def rng_state(device_kind: str) -> dict[str, Any]:
    """State of torch's own generators, which dropout draws from.

    Args:
        device_kind: The device whose generator is kept beside the CPU's.

    Returns:
        The states by device kind.
    """
    states: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if device_kind == "cuda":
        states["cuda"] = torch.cuda.get_rng_state()
    elif device_kind == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_rng_state(states: dict[str, Any]) -> None:
    """Restores what `rng_state` returned, for the devices that are here.

    Args:
        states: The states by device kind.
    """
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])
