from __future__ import annotations

from pathlib import Path

import pytest

from flowbench.api import Artifact
from flowbench.store.artifacts import ARTIFACTS, read_artifacts, write_artifacts


@pytest.mark.parametrize(
    ("media_type", "ending"),
    [
        ("audio/wav", ".wav"),
        ("audio/flac", ".flac"),
        ("audio/mpeg", ".mp3"),
        ("text/plain", ".txt"),
    ],
)
def test_files_end_as_programs_that_open_them_expect(
    tmp_path: Path, media_type: str, ending: str
) -> None:
    heard = Artifact(name="Sample 1, given clip 3", media_type=media_type, content=b"RIFF")
    write_artifacts(tmp_path, [heard])
    (file,) = tmp_path.glob(f"{ARTIFACTS}/00-*")
    assert file.name == f"00-Sample-1-given-clip-3{ending}"
    assert read_artifacts(tmp_path / ARTIFACTS) == (heard,)
