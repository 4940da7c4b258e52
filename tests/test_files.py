from __future__ import annotations

import os
from pathlib import Path

import pytest

from flowbench.files import write_whole


@pytest.mark.parametrize("data", ["Größe", "Größe".encode()])
def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(
    tmp_path: Path, data: str | bytes
) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("a longer text that was there before")
    write_whole(path, data)
    assert path.read_text(encoding="utf-8") == "Größe"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("before")

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_whole(path, "after", sync=True)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
