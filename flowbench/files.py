"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, data: bytes | str) -> None:
    """Writes a file under a temporary name, then renames it.

    Args:
        path: The file, in a folder that exists; one of that name is replaced.
        data: Its content; a text is written in UTF-8.
    """
    # With the process in its name: two that write the same file do not mix their bytes.
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_bytes(data.encode() if isinstance(data, str) else data)
    partial.replace(path)
