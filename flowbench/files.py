"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, data: bytes | str, *, sync: bool = False) -> None:
    """Writes a file under a temporary name, then renames it.

    Args:
        path: The file, in a folder that exists; one of that name is replaced.
        data: Its content; a text is written in UTF-8.
        sync: Have content and name on the disk before it returns, whatever befalls the machine.

    Raises:
        OSError: It cannot be written; a file of that name stays as it was.
    """
    # With the process in its name: two that write the same file do not mix their bytes.
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)  # on a full disk it is in the way of all others
        raise
    if sync:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Has the names in a folder on the disk before it returns."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
