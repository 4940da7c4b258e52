from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowbench.errors import DataError
from flowbench_datasets.cifar import convert
from tests.plugins.flowbench_datasets.collect import collect


def _string(value: bytes) -> bytes:
    short = len(value) < 256
    return (b"U" + bytes((len(value),)) if short else b"T" + struct.pack("<I", len(value))) + value


def python2_pickle(data: np.ndarray, labels: list[int]) -> bytes:
    """What Python 2 and the NumPy of 2009 write for a batch: byte strings, numpy.core names."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85"
        + _string(b"b")
        + b"tR(K\x01"  # version
        + struct.pack("<cicic", b"J", data.shape[0], b"J", data.shape[1], b"\x86")
        + b"cnumpy\ndtype\n("
        + _string(b"u1")
        + b"K\x00K\x01tR(K\x03"
        + _string(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + b"\x89"  # not in Fortran order
        + _string(data.tobytes())
        + b"tb"
    )
    numbers = b"]" + b"(" + b"".join(b"K" + bytes((n,)) for n in labels) + b"e"
    return b"\x80\x02}(" + _string(b"data") + array + _string(b"labels") + numbers + b"u."


def batch(seed: int, num: int = 5) -> tuple[np.ndarray, list[int]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (num, 3072), dtype=np.uint8), rng.integers(0, 10, num).tolist()


NAMES = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]


def archive(folder: Path, **changes: bytes) -> dict[str, Path]:
    path = folder / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as target:
        for number, name in enumerate(NAMES):
            data = changes.get(name, python2_pickle(*batch(number)))
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(data)
            target.addfile(member, io.BytesIO(data))
    return {path.name: path}


def test_batches_come_in_their_published_order(tmp_path: Path) -> None:
    splits = collect(convert(archive(tmp_path)))
    assert splits["train"].x.shape == (25, 3, 32, 32)
    expected = np.concatenate([batch(number)[0] for number in range(5)])
    assert np.array_equal(splits["train"].x.reshape(25, -1), expected)
    assert np.array_equal(splits["test"].x[0, 2, 31, 31], batch(5)[0][0, -1])
    assert splits["test"].context["label"].tolist() == batch(5)[1]


def test_python_3_reads_the_same_pickle_as_we_do() -> None:
    # The writer above is held to the plain loader; NumPy warns of the old dtype arguments.
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = pickle.loads(python2_pickle(*batch(0)), encoding="latin1")
    assert np.array_equal(plain["data"], batch(0)[0])


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch evil",)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pickle.dumps({"data": Evil(), "labels": []}, 2), r"names (posix|nt).system"),
        (pickle.dumps(print, 2), "print, which no array needs"),
        (python2_pickle(*batch(0))[:-40], "damaged pickle"),
        (b"<html>", "damaged pickle"),
        (pickle.dumps({"labels": [1]}, 2), "no batch of CIFAR-10"),
        (pickle.dumps([1], 2), "no batch of CIFAR-10"),
        (python2_pickle(batch(0)[0], [1, 2]), r"shape \(5, 3072\), expected \(2, 3072\)"),
    ],
)
def test_other_pickles_are_refused_and_run_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        collect(convert(archive(tmp_path, data_batch_3=data)))
    assert not (tmp_path / "evil").exists()
