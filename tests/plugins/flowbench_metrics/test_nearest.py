from __future__ import annotations

import numpy as np
import pytest

from flowbench_metrics import nearest
from flowbench_metrics.nearest import nearest_distances, spread_out


@pytest.mark.parametrize("chunk_values", [1, 60, 1 << 24])
def test_distances_are_those_of_brute_force(
    chunk_values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "CHUNK_VALUES", chunk_values)
    rng = np.random.default_rng(0)
    queries, references = rng.normal(size=(30, 2, 3)), rng.normal(size=(50, 2, 3))
    pairs = (queries[:, None] - references).reshape(30, 50, 6)
    expected = np.linalg.norm(pairs, axis=2).min(axis=1)
    np.testing.assert_allclose(nearest_distances(queries, references), expected, rtol=1e-12)


def test_a_copy_has_distance_zero_and_a_neighbour_one() -> None:
    # 3,072 bytes near 255: the matrix product alone would be off by whole levels.
    references = np.random.default_rng(0).integers(200, 256, (64, 3, 32, 32)).astype(np.uint8)
    queries = references[[7, 9]]
    queries[1, 0, 0, 0] ^= 1
    assert nearest_distances(queries, references).tolist() == [0.0, 1.0]


def test_only_large_sets_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.arange(200).reshape(100, 2)
    assert spread_out(x) is x
    monkeypatch.setattr(nearest, "MAX_VALUES", 20)
    assert spread_out(x)[:, 0].tolist() == [0, 22, 44, 66, 88, 110, 132, 154, 176, 198]
