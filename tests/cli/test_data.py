"""``flowbench data``, and what other commands say of data."""

from __future__ import annotations

import gzip
import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cli.command import Command

PLUGIN = """
import gzip
import hashlib
import numpy as np
from flowbench.api import DatasetSpec, MetricSpec, RemoteFile, Split, hookimpl

FLOWBENCH_API_VERSION = 2

def convert(files):
    rows = np.frombuffer(gzip.decompress(files["rows.gz"].read_bytes()), np.uint8)
    rows = rows.reshape(-1, 1, 2, 2)
    yield "train", Split(x=rows[:40])
    yield "test", Split(x=rows[40:])

@hookimpl
def register_datasets():
    return [DatasetSpec(name="tiny", modality="image", event_shape=(1, 2, 2), levels=256,
                        num_train=40, num_test=10, convert="tiny_data:convert",
                        files=(RemoteFile(name="rows.gz"),), how_to="ask at example.org",
                        summary="tiny", licence="CC0")]

@hookimpl
def register_metrics():
    file = RemoteFile(name="n.pth", sha256=hashlib.sha256(b"weights").hexdigest())
    return [MetricSpec(name="distance", compute="tiny_data:distance", unit="", direction="lower",
                       summary="takes weights", default=False, weights={"net-weights": file})]
"""


@pytest.fixture
def flowbench(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Command]:
    """Runs a command with a plugin that has one dataset to prepare."""
    plugin = tmp_path / "tiny_data.py"
    plugin.write_text(PLUGIN)
    rows = np.random.default_rng(0).integers(0, 256, 200, dtype=np.uint8)
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "rows.gz").write_bytes(gzip.compress(rows.tobytes()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOWBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.delitem(sys.modules, "tiny_data", raising=False)
    yield Command(monkeypatch, capsys, ("--plugin-file", str(plugin)))
    sys.modules.pop("tiny_data", None)


def test_prepare_verify_and_where(flowbench: Command, tmp_path: Path) -> None:
    status, out, _ = flowbench("data", "where", "tiny", "--json")
    facts = json.loads(out)
    assert (status, facts["ready"]) == (0, False)
    assert facts["folder"] == str(tmp_path / "data" / "tiny")
    status, out, _ = flowbench("data", "prepare", "tiny", "--from", "given")
    assert status == 0
    assert "train 36 (of 40 published)" in out
    assert "validation 4 (held out from train)" in out
    status, out, _ = flowbench("data", "verify", "tiny", "--json")
    facts = json.loads(out)
    assert (status, facts["verified"], facts["splits"]["test"]["count"]) == (0, True, 10)
    assert json.loads(flowbench("data", "where", "--json")[1]) == {
        "data_dir": str(tmp_path / "data")
    }


def test_the_data_dir_flag_wins(flowbench: Command, tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    assert flowbench("data", "prepare", "tiny", "--from", "given", "--data-dir", other)[0] == 0
    assert (tmp_path / "other" / "tiny" / "manifest.json").is_file()
    assert not (tmp_path / "data").exists()


def test_what_is_missing_is_one_line(flowbench: Command) -> None:
    status, _, err = flowbench("data", "prepare", "tiny")
    assert status == 1
    assert err.startswith("error: dataset 'tiny': rows.gz is needed by hand; ask at example.org")
    assert err.count("\n") == 1
    status, _, err = flowbench("data", "verify", "tiny")
    assert (status, err.count("\n")) == (1, 1)
    assert "run: flowbench data prepare tiny" in err


def test_a_run_without_its_data_starts_nothing(flowbench: Command, tmp_path: Path) -> None:
    status, _, err = flowbench(
        "run", "--models", "glow", "--datasets", "tiny", "--budget", "1steps"
    )
    assert status == 1
    assert "dataset 'tiny' is not prepared; run: flowbench data prepare tiny" in err
    assert not (tmp_path / "results" / "runs").exists()


def test_what_needs_no_preparation_says_so(flowbench: Command) -> None:
    assert flowbench("data", "prepare", "digits")[1] == "digits needs no preparation\n"
    facts = json.loads(flowbench("data", "verify", "digits", "--json")[1])
    assert facts["verified"]
    assert json.loads(flowbench("data", "where", "digits", "--json")[1])["ready"]


def test_weights_have_a_place_and_are_verified(flowbench: Command, tmp_path: Path) -> None:
    known = json.loads(flowbench("data", "where", "net-weights", "--json")[1])
    assert (known["ready"], known["file"]) == (False, str(tmp_path / "data" / "weights" / "n.pth"))
    status, _, err = flowbench("data", "verify", "net-weights")
    assert (status, err.count("\n")) == (1, 1)
    assert err.endswith(f"run: {known['prepare']}\n")
    (tmp_path / "given" / "n.pth").write_bytes(b"weights")
    assert flowbench(*known["prepare"].split()[1:], "--from", "given")[0] == 0
    facts = json.loads(flowbench("data", "verify", "net-weights", "--json")[1])
    assert facts["verified"]
    assert json.loads(flowbench("data", "where", "net-weights", "--json")[1])["ready"]
    Path(facts["file"]).write_bytes(b"others!")
    status, _, err = flowbench("data", "verify", "net-weights")
    assert status == 1
    assert "SHA-256" in err


def test_the_list_shows_size_licence_and_whether_it_is_ready(flowbench: Command) -> None:
    def tiny() -> dict[str, Any]:
        rows: list[dict[str, Any]] = json.loads(flowbench("list", "datasets", "--json")[1])
        return next(row for row in rows if row["name"] == "tiny")

    before = tiny()
    assert (before["modality"], before["shape"], before["licence"]) == ("image", "1x2x2", "CC0")
    assert (before["size_bytes"], before["ready"]) == (200, False)
    flowbench("data", "prepare", "tiny", "--from", "given")
    assert tiny()["ready"]


def test_a_folder_of_images_is_a_dataset(flowbench: Command, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(30):
        pixels = np.random.default_rng(number).integers(0, 256, (9, 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    name = "folder:photos?size=8"
    run = ("run", "--models", "histogram", "--datasets", name, "--budget", "2steps", "--dry-run")
    status, out, _ = flowbench(*run)
    assert status == 0, out
    assert f"{tmp_path / 'photos'}?size=8" in out
    assert json.loads(flowbench("data", "where", name, "--json")[1])["ready"]


def test_a_truncated_idx_file_is_one_line(flowbench: Command, tmp_path: Path) -> None:
    header = bytes((0, 0, 8, 1)) + struct.pack(">i", 5)
    (tmp_path / "given" / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header))
    status, _, err = flowbench("data", "prepare", "mnist", "--from", "given")
    assert (status, err.count("\n")) == (1, 1)
    assert "t10k-images-idx3-ubyte.gz" in err


def test_files_of_a_folder_that_cannot_be_read_are_named(
    flowbench: Command, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(20):
        pixels = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number:02}.png")
    whole = (tmp_path / "photos" / "03.png").read_bytes()
    (tmp_path / "photos" / "03.png").write_bytes(whole[:100])
    (tmp_path / "photos" / "notes.txt").write_text("mine")
    status, out, _ = flowbench("data", "prepare", "folder:photos?size=8")
    assert status == 0
    assert "(of 18 published; 1 unreadable)" in out
    assert "left out, unreadable: 03.png: " in out
    assert "unused       1 not of the kinds" in out
