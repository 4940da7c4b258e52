from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowbench.api import DataError
from flowbench_metrics import check_fid, fidelity
from flowbench_metrics.extractors import Weights
from tests.plugins.flowbench_metrics.images import Pixels

WEIGHTS = Weights(Path("unused"), "ab" * 32)


def batch(path: Path, num: int = 90, **arrays: Any) -> Path:
    """A released batch: images of 2x2 pixels."""
    rng = np.random.default_rng(0)
    np.savez(path, **{"arr_0": rng.integers(0, 100, (num, 2, 2, 3)).astype(np.uint8)} | arrays)
    return path


def pixel_distance(samples: Path, reference: Path) -> tuple[float, int]:
    return check_fid.distance(samples, reference, WEIGHTS, Pixels(12), "pixels", min_samples=20)


def test_the_distance_is_from_the_moments_of_the_reference(tmp_path: Path) -> None:
    samples = batch(tmp_path / "samples.npz")
    x = np.load(samples)["arr_0"].transpose(0, 3, 1, 2).reshape(90, 12).astype(float)
    known = {"mu": x.mean(axis=0) + 2.0, "sigma": np.cov(x, rowvar=False)}
    found, num = pixel_distance(samples, batch(tmp_path / "reference.npz", num=3, **known))
    assert found == pytest.approx(12 * 2.0**2)
    assert num == 90


def test_a_reference_of_images_has_its_moments_taken(tmp_path: Path) -> None:
    samples = batch(tmp_path / "samples.npz")
    assert pixel_distance(samples, samples)[0] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"arr_0": np.zeros((90, 3, 2, 2), np.uint8)}, "arr_0 uint8 (90, 3, 2, 2); expected arr_0"),
        ({"arr_0": np.zeros((90, 2, 2, 3))}, "arr_0 float64 (90, 2, 2, 3)"),
        ({"num": 5}, "holds 5 images; fid takes 20 or more"),
        ({"mu": np.zeros(7), "sigma": np.eye(7)}, "mu (7,) and sigma (7, 7); expected (12,)"),
        ({"arr_0": np.array([{}])}, "not an .npz file of plain arrays"),
    ],
)
def test_what_is_no_batch_is_refused(tmp_path: Path, given: dict[str, Any], words: str) -> None:
    path = batch(tmp_path / "given.npz", **given)
    with pytest.raises(DataError) as refused:
        pixel_distance(path, path)
    assert words in str(refused.value)


@pytest.mark.parametrize("content", [None, b"", b"no archive", b"PK\x03\x04 cut off"])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "given.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as refused:
        pixel_distance(path, path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("expect", "status", "words"),
    [(None, 0, ""), (2.6142, 0, "as expected: 2.6142"), (2.07, 1, "NOT as expected: 2.07")],
)
def test_the_command_holds_the_distance_to_the_known_one(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    expect: float | None,
    status: int,
    words: str,
) -> None:
    monkeypatch.setattr(check_fid, "distance", lambda *_: (2.6139, 50_000))
    monkeypatch.setattr(fidelity.INCEPTION, "weights", lambda _: WEIGHTS)
    flags = [] if expect is None else ["--expect", str(expect)]
    assert check_fid.main(["s.npz", "r.npz", *flags]) == status
    printed = capsys.readouterr().out
    assert "fid 2.6139 of 50,000 samples, weights abababab..." in printed
    assert words in printed


def test_without_weights_the_command_says_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("FLOWBENCH_WEIGHTS", raising=False)
    assert check_fid.main(["s.npz", "r.npz", "--data-dir", str(tmp_path)]) == 2
    assert "flowbench data prepare inception-weights --data-dir" in capsys.readouterr().err
