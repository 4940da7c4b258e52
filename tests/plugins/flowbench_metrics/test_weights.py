from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from flowbench.api import RemoteFile
from flowbench.errors import DataError, DataMissingError
from flowbench_metrics.weights import check_published, find_weights, sha256_of

FILE = RemoteFile(name="net.pth", sha256=hashlib.sha256(b"right").hexdigest())


@pytest.fixture(autouse=True)
def _nothing_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("FLOWBENCH_WEIGHTS", raising=False)


def put(folder: Path, name: str = FILE.name, content: bytes = b"right") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def test_places_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    in_hub = put(tmp_path / "torch" / "hub" / "checkpoints")
    assert find_weights(FILE, "net-weights", data) == in_hub
    prepared = put(data / "weights")
    assert find_weights(FILE, "net-weights", data) == prepared
    own = put(tmp_path / "own")
    monkeypatch.setenv("FLOWBENCH_WEIGHTS", str(own.parent))
    assert find_weights(FILE, "net-weights", data) == own
    other = put(tmp_path, "mine.pth")
    monkeypatch.setenv("FLOWBENCH_WEIGHTS", str(other))
    assert find_weights(FILE, "net-weights", data) == other


def test_absent_weights_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataMissingError, match=r"flowbench data prepare net-weights.*--weights"):
        find_weights(FILE, "net-weights", tmp_path)


def test_other_weights_are_told_by_their_hash(tmp_path: Path) -> None:
    path = put(tmp_path)
    assert check_published(FILE, path) == FILE.sha256
    put(tmp_path, content=b"wrong!")
    with pytest.raises(DataError, match="these are other weights"):
        check_published(FILE, path)
    assert sha256_of(path) == hashlib.sha256(b"wrong!").hexdigest()
