from __future__ import annotations

import dataclasses
import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from flowbench.api import RemoteFile
from flowbench.data.library.prepare import prepare
from flowbench.data.library.splits import load_prepared
from flowbench.errors import DataError
from flowbench_datasets.facts import FASHION_MNIST
from flowbench_datasets.idx import convert, read_idx
from tests.plugins.flowbench_datasets.collect import collect

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def idx(values: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}i", *values.shape)
    return header + values.tobytes()


def write(folder: Path, num_train: int = 30, num_test: int = 7) -> dict[str, Path]:
    rng = np.random.default_rng(0)
    for prefix, num in (("train", num_train), ("t10k", num_test)):
        images = rng.integers(0, 256, (num, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, num).astype(np.uint8)
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            (folder / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(idx(values)))
    return {path.name: path for path in folder.iterdir()}


def test_images_and_labels_come_as_published(tmp_path: Path) -> None:
    files = write(tmp_path)
    splits = collect(convert(files))
    assert (splits["train"].x.shape, splits["test"].x.shape) == ((30, 1, 28, 28), (7, 1, 28, 28))
    raw = gzip.decompress(files["t10k-images-idx3-ubyte.gz"].read_bytes())
    assert splits["test"].x.tobytes() == raw[16:]
    labels = gzip.decompress(files["t10k-labels-idx1-ubyte.gz"].read_bytes())
    assert splits["test"].context["label"].tolist() == list(labels[8:])


@pytest.mark.parametrize(
    ("data", "num_axes", "message"),
    [
        (gzip.compress(b"<html>not found</html>"), 3, "not an idx file"),
        (gzip.compress(idx(np.zeros((3, 4), np.uint8)))[:-9], 2, "not a complete gzip"),
        (b"<html>", 3, "not a complete gzip"),
        (b"", 3, "is not an idx file"),
        (gzip.compress(idx(np.zeros((3, 4), np.uint8))[:-1]), 2, r"11 values for shape \(3, 4\)"),
        (gzip.compress(bytes((0, 0, 8, 3, 0, 0))), 3, "ends within its idx header"),
        (gzip.compress(bytes((0, 0, 0x0D, 1, 0, 0, 0, 1, 0))), 1, "not an idx file of unsigned"),
        (gzip.compress(bytes((0, 0, 8, 255)) + bytes((0, 0, 0, 1)) * 255 + b"a"), 3, "255 axes"),
        (gzip.compress(idx(np.zeros(5, np.uint8))), 3, "has 1 axes, expected 3"),
    ],
    # Else a test is called by its bytes, in which gzip writes the time: workers would disagree.
    ids=["text", "cut gzip", "no gzip", "empty", "cut values", "cut header", "doubles", "255", "1"],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes, num_axes: int, message: str) -> None:
    (tmp_path / "a.gz").write_bytes(data)
    with pytest.raises(DataError, match=message):
        read_idx(tmp_path / "a.gz", num_axes=num_axes)


def test_a_bare_idx_file_is_read_too(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    (tmp_path / "a").write_bytes(idx(values))
    assert np.array_equal(read_idx(tmp_path / "a", values.ndim), values)


def test_small_files_are_not_the_published_ones(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match=r"has [\d,]+ bytes, train-images-idx3-ubyte.gz has 26,421"):
        prepare(FASHION_MNIST, convert, tmp_path / "data", given=tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_the_genuine_files_of_debian(tmp_path: Path) -> None:
    manifest = prepare(FASHION_MNIST, convert, tmp_path, given=DEBIAN, offline=True)
    assert all(source.published for source in manifest.sources)
    train, validation, test = (manifest.splits[n] for n in ("train", "validation", "test"))
    assert (train.published, test.published) == (60_000, 10_000)
    assert (train.count, validation.count, test.count) == (54_000, 6_000, 10_000)
    assert manifest.sha256 == FASHION_MNIST.sha256
    splits = load_prepared(FASHION_MNIST, tmp_path).splits
    counts = np.bincount(splits.test.context["label"])
    assert counts.tolist() == [1000] * 10


@pytest.mark.slow
@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_a_changed_label_is_not_the_genuine_set(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    for path in DEBIAN.iterdir():
        (given / path.name).symlink_to(path)
    labels = given / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress(labels.read_bytes()))
    content[-1] ^= 1
    labels.unlink()
    labels.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(
        DataError, match=r"the published t10k-labels-idx1-ubyte\.gz|t10k-labels-idx1-ubyte\.gz has"
    ):
        prepare(FASHION_MNIST, convert, tmp_path / "data", given=given)
    unhashed = tuple(RemoteFile(name=file.name) for file in FASHION_MNIST.files)
    unchecked = dataclasses.replace(FASHION_MNIST, files=unhashed)
    with pytest.raises(DataError, match="its spec pins 388e1009a295e9fd"):
        prepare(unchecked, convert, tmp_path / "data", given=given)
