from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flowbench.data.library import array_writer
from flowbench.data.library.array_writer import ArrayWriter, split_rows


def write(path: Path, values: np.ndarray) -> None:
    writer = ArrayWriter(path, values.dtype, values.shape[1:])
    for start in range(0, len(values), 3):
        writer.append(values[start : start + 3])
    writer.close()


@pytest.mark.parametrize("dtype", ["uint8", ">i8", "float32", "uint16"])
@pytest.mark.parametrize("shape", [(10,), (7, 3, 64, 64), (0, 2)])
def test_numpy_reads_what_was_appended(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape)).astype(dtype).reshape(shape)
    write(tmp_path / "a.npy", values)
    assert np.array_equal(np.load(tmp_path / "a.npy"), values)
    assert np.array_equal(np.load(tmp_path / "a.npy", mmap_mode="r"), values)


@pytest.mark.parametrize("chunk_bytes", [1, 40, 1 << 20])
def test_rows_are_taken_out_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    monkeypatch.setattr(array_writer, "CHUNK_BYTES", chunk_bytes)
    values = np.arange(40, dtype=np.int32).reshape(20, 2)
    write(tmp_path / "a.npy", values)
    moved = np.array([3, 11, 19])
    dropped = [0, 12]
    keep = np.ones(20, dtype=bool)
    keep[[*moved, *dropped]] = False
    split_rows(tmp_path / "a.npy", keep, moved, tmp_path / "b.npy")
    assert np.array_equal(np.load(tmp_path / "a.npy"), values[keep])
    assert np.array_equal(np.load(tmp_path / "b.npy"), values[moved])


def test_a_file_that_was_not_closed_is_no_array(tmp_path: Path) -> None:
    writer = ArrayWriter(tmp_path / "a.npy", np.dtype(np.uint8), (2,))
    writer.append(np.zeros((3, 2), dtype=np.uint8))
    try:
        with pytest.raises((ValueError, EOFError)):
            np.load(tmp_path / "a.npy", allow_pickle=False)
    finally:
        writer.close()
