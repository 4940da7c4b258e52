from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import linalg
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from flowbench_metrics.frechet import Moments, RunningMoments, frechet_distance, moments

RNG = np.random.default_rng(0)


def by_torch_fidelity(x: np.ndarray, y: np.ndarray) -> float:
    given = [fid_features_to_statistics(torch.from_numpy(rows)) for rows in (x, y)]
    return float(fid_statistics_to_metric(*given, False)["frechet_inception_distance"])


def by_pytorch_fid(x: np.ndarray, y: np.ndarray) -> float:
    # Not installed everywhere: it and clean-fid come with the extra `dev`.
    score = pytest.importorskip("pytorch_fid.fid_score", reason="needs pytorch-fid")
    wide = [rows.astype(np.float64) for rows in (x, y)]  # the arrays that it fills
    means_and_covariances = (s for r in wide for s in (r.mean(axis=0), np.cov(r, rowvar=False)))
    return float(score.calculate_frechet_distance(*means_and_covariances))


def by_clean_fid(x: np.ndarray, y: np.ndarray) -> float:
    fid = pytest.importorskip("cleanfid.fid", reason="needs clean-fid")
    return float(fid.fid_from_feats(x, y))


def by_definition(x: np.ndarray, y: np.ndarray) -> float:
    """Heusel et al. 2017, eq. 6, in float64, with SciPy's root."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    first, second = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = linalg.sqrtm(first @ second).real
    shift = np.square(x.mean(axis=0) - y.mean(axis=0)).sum()
    return float(shift + np.trace(first + second - 2.0 * root))


def like_inception(num: int, dims: int, gain: float) -> np.ndarray:
    mixing = np.random.default_rng(1).normal(size=(dims, dims)) / np.sqrt(dims)
    x: np.ndarray = np.maximum(gain * RNG.normal(size=(num, dims)) @ mixing + 0.3, 0)
    return x.astype(np.float32)


def test_gaussians_with_diagonal_covariances() -> None:
    mean, other = np.array([1.0, -2.0, 0.0]), np.array([0.0, 0.0, 3.0])
    std, other_std = np.array([1.0, 2.0, 0.5]), np.array([3.0, 0.1, 0.5])
    first = Moments(mean, np.diag(std**2))
    second = Moments(other, np.diag(other_std**2))
    by_hand = np.square(mean - other).sum() + np.square(std - other_std).sum()
    assert frechet_distance(first, second) == pytest.approx(by_hand, rel=1e-12)


def test_gaussians_whose_covariances_do_not_commute() -> None:
    # tr (A B)^(1/2) of 2x2 matrices is (tr AB + 2 (det AB)^(1/2))^(1/2).
    a, b = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([[1.0, -0.5], [-0.5, 0.7]])
    product = a @ b
    root = np.sqrt(np.trace(product) + 2.0 * np.sqrt(np.linalg.det(product)))
    zero = np.zeros(2)
    by_hand = np.trace(a) + np.trace(b) - 2.0 * root
    assert frechet_distance(Moments(zero, a), Moments(zero, b)) == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize(("num", "dims"), [(2_000, 64), (40, 64)])
def test_a_set_against_itself(num: int, dims: int) -> None:
    given = moments(like_inception(num, dims, 1.0))
    assert frechet_distance(given, given) == pytest.approx(0.0, abs=1e-10)


@pytest.mark.parametrize(("num", "dims"), [(4_000, 64), (50_000, 16), (100, 64)])
def test_torch_fidelity_agrees(num: int, dims: int) -> None:
    x, y = like_inception(num, dims, 1.0), like_inception(num, dims, 1.3)
    ours = frechet_distance(moments(x), moments(y))
    assert ours == pytest.approx(by_torch_fidelity(x, y), rel=1e-6)


@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated:DeprecationWarning")
@pytest.mark.parametrize("theirs", [by_pytorch_fid, by_clean_fid, by_definition])
@pytest.mark.parametrize("dims", [16, 192])
def test_others_agree_on_the_same_features(
    theirs: Callable[[np.ndarray, np.ndarray], float], dims: int
) -> None:
    x, y = like_inception(4_000, dims, 1.0), like_inception(4_000, dims, 1.3)
    assert frechet_distance(moments(x), moments(y)) == pytest.approx(theirs(x, y), rel=1e-6)


@pytest.mark.parametrize(("num", "dims"), [(60_000, 16), (3_000, 300)])
def test_running_moments_are_those_of_the_whole(num: int, dims: int) -> None:
    x, y = like_inception(num, dims, 1.0), like_inception(1_000, dims, 1.3)
    running = RunningMoments()
    for start in range(0, num, 64):
        running.add(x[start : start + 64])
    seen, whole = running.result(), moments(x)
    np.testing.assert_array_equal(seen.mean, whole.mean)
    np.testing.assert_allclose(seen.covariance, whole.covariance, rtol=1e-9, atol=1e-12)
    ours = frechet_distance(moments(y), seen)
    assert ours == pytest.approx(by_torch_fidelity(y, x), rel=1e-6)


def test_one_feature() -> None:
    x, y = np.array([[0.0], [2.0]]), np.array([[10.0], [10.0]])
    assert frechet_distance(moments(x), moments(y)) == pytest.approx(9.0**2 + 2.0)


def test_running_moments_of_features_far_from_zero() -> None:
    x = 1e6 + RNG.normal(size=(1_000, 5))
    running = RunningMoments()
    for batch in np.array_split(x, 7):
        running.add(batch)
    mean, covariance = running.result()
    np.testing.assert_allclose(mean, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(x, rowvar=False), rtol=1e-8)
