from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from flowbench.api import TrainedModel
from flowbench.api.specs import SplitName
from flowbench_metrics import reference as module
from flowbench_metrics.extractors import Weights
from flowbench_metrics.frechet import moments
from flowbench_metrics.reference import Reference, evenly, read_moments, write_moments
from tests.plugins.flowbench_metrics.fakes import FakeTrained
from tests.plugins.flowbench_metrics.images import Pixels, image_info, images, splits_of

INFO = image_info()
TRAIN, HELD_OUT, TEST = images(30, 0, INFO), images(6, 1, INFO), images(9, 2, INFO)


def reference(
    given: TrainedModel,
    split: SplitName = "train",
    held_out: NDArray[Any] | None = HELD_OUT,
    pixels: Pixels | None = None,
    sha256: str = "cd" * 32,
) -> Reference:
    data = splits_of(TRAIN, TEST, held_out)
    weights = Weights(Path("unused"), sha256)
    return Reference(given, data, split, pixels or Pixels(), weights)


def test_what_was_held_out_of_train_counts_as_train(trained: type[FakeTrained]) -> None:
    seen = reference(trained(data=INFO))
    both = np.concatenate([TRAIN, HELD_OUT]).reshape(-1, 4).astype(float)
    assert len(seen) == 36
    np.testing.assert_allclose(seen.moments("pixels").mean, both.mean(axis=0))
    assert len(reference(trained(data=INFO), held_out=None)) == 30
    assert len(reference(trained(data=INFO), split="test")) == 9


def test_a_large_split_is_summed_up_batch_by_batch(
    trained: type[FakeTrained], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_KEPT", 10)
    seen = reference(trained(data=INFO))
    both = np.concatenate([TRAIN, HELD_OUT]).reshape(-1, 4).astype(float)
    np.testing.assert_allclose(seen.moments("pixels").covariance, np.cov(both, rowvar=False))
    assert len(seen.features()["pixels"]) == 10


def test_pieces_at_even_distances() -> None:
    parts = [np.arange(5), np.arange(5, 12)]
    assert np.concatenate(evenly(parts, 4)).tolist() == [0, 3, 7, 11]
    assert [len(p) for p in evenly(parts, 12)] == [5, 7]


def test_moments_outlive_the_process_that_took_them(
    trained: type[FakeTrained], tmp_path: Path
) -> None:
    given = trained(data=INFO, data_sha256="ef" * 32, data_dir=tmp_path)
    first, again = Pixels(), Pixels()
    taken = reference(given, pixels=first).moments("pixels")
    read = reference(given, pixels=again).moments("pixels")
    assert (first.num_images, again.num_images) == (36, 0)
    np.testing.assert_array_equal(read.covariance, taken.covariance)
    assert [path.suffix for path in (tmp_path / "statistics").iterdir()] == [".npz"]


@pytest.mark.parametrize(
    "change",
    [
        {"data_sha256": "aa" * 32},
        {"device_kind": "cuda-like"},
        {"sha256": "bb" * 32},
        {"split": "test"},
        {"held_out": None},
        {"library": "none 2"},
        {"dtype": "float32"},
        {"name": "other-pixels"},
    ],
)
def test_whatever_changes_the_moments_changes_their_file(
    trained: type[FakeTrained], tmp_path: Path, change: dict[str, Any]
) -> None:
    facts: dict[str, Any] = {"data": INFO, "data_sha256": "ef" * 32, "data_dir": tmp_path}
    reference(trained(**facts)).moments("pixels")
    of_model = {k: v for k, v in change.items() if k in ("data_sha256", "device_kind")}
    of_network = {k: v for k, v in change.items() if k in ("library", "dtype", "name")}
    rest = {k: v for k, v in change.items() if k not in of_model and k not in of_network}
    pixels = Pixels()
    for name, value in of_network.items():
        setattr(pixels, name, value)
    reference(trained(**{**facts, **of_model}), pixels=pixels, **rest).moments("pixels")
    assert pixels.num_images > 0
    assert len(list((tmp_path / "statistics").iterdir())) == 2


def test_data_without_a_hash_leave_nothing_on_disk(
    trained: type[FakeTrained], tmp_path: Path
) -> None:
    reference(trained(data=INFO, data_dir=tmp_path)).moments("pixels")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no archive at all"])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.npz"
    write_moments(path, {"a": 1}, moments(np.eye(3)))
    assert read_moments(path, {"a": 1}) is not None
    assert read_moments(path, {"a": 2}) is None
    path.write_bytes(content)
    assert read_moments(path, {"a": 1}) is None


def test_a_folder_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "statistics").write_text("a file in the folder's place")
    write_moments(tmp_path / "statistics" / "m.npz", {}, moments(np.eye(3)))
    assert (tmp_path / "statistics").is_file()


def test_many_writers_leave_one_whole_file(tmp_path: Path) -> None:
    path, given = tmp_path / "m.npz", moments(np.eye(50))
    seen: list[object] = []

    def write() -> None:
        for _ in range(20):
            write_moments(path, {"a": 1}, given)
            seen.append(read_moments(path, {"a": 1}))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert None not in seen
    assert [p.name for p in tmp_path.iterdir()] == ["m.npz"]
