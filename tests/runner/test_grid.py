from __future__ import annotations

import io
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from flowbench.api import Artifact
from flowbench.api.manifolds import manifold_of
from flowbench.runner.grid import DENSITY_BINS, MOST_CONTEXTS, over_contexts, sample_grid

DATA = np.random.default_rng(0).normal(size=(4000, 2)).astype(np.float32)


def loaded(**facts: Any) -> Any:
    """As much of a dataset as a picture needs."""
    plane = {"modality": "vector", "event_shape": (2,), "levels": None, "manifold": None}
    info = SimpleNamespace(**{**plane, **facts})
    return SimpleNamespace(info=info, splits=SimpleNamespace(test=SimpleNamespace(x=DATA)))


def on(name: str, x: NDArray[Any]) -> Any:
    """As much of data on a manifold."""
    manifold = f"flowbench.api.manifolds:{name}"
    data = loaded(modality="manifold", event_shape=x.shape[1:], manifold=manifold)
    data.splits.test.x = x
    return data


def gaussian(x: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(-0.5 * (x**2).sum(axis=1) - np.log(2 * np.pi), dtype=np.float64)


def maps(artifacts: tuple[Artifact, ...]) -> list[NDArray[np.float64]]:
    """The heat maps of a picture, dark as great."""
    (picture,) = artifacts
    with Image.open(io.BytesIO(picture.content)) as image:
        pixels = 255.0 - np.asarray(image, dtype=np.float64)
    assert pixels.shape[0] == DENSITY_BINS
    count = (pixels.shape[1] + 1) // (DENSITY_BINS + 1)
    starts = [n * (DENSITY_BINS + 1) for n in range(count)]
    return [pixels[:, start : start + DENSITY_BINS] for start in starts]


def test_data_samples_and_density_stand_side_by_side() -> None:
    data, samples, density = maps(sample_grid(DATA + 0.5, loaded(), gaussian))
    centre = np.unravel_index(density.argmax(), density.shape)
    low, high = DATA.min(axis=0), DATA.max(axis=0)
    width = (high - low) / DENSITY_BINS
    x, y = low[0] + (centre[1] + 0.5) * width[0], high[1] - (centre[0] + 0.5) * width[1]
    assert (x, y) == pytest.approx((0.0, 0.0), abs=float(width.max()))
    # The density looks like the data; samples that are off do not.
    assert np.corrcoef(data.ravel(), density.ravel())[0, 1] > 0.7
    assert abs(data - density).mean() < abs(samples - density).mean()


@pytest.mark.parametrize(("name", "count"), [("SPHERE", 3), ("TORUS", 3), ("ROTATIONS", 2)])
def test_uniform_points_of_a_manifold_fill_its_map_evenly(name: str, count: int) -> None:
    manifold = manifold_of(f"flowbench.api.manifolds:{name}")
    x = manifold.sample_uniform(200_000, np.random.default_rng(0))

    def uniform(x: NDArray[Any]) -> NDArray[np.float64]:
        assert manifold.contains(x).all()
        return np.full(len(x), -np.log(manifold.volume))

    data, samples, *density = maps(sample_grid(x, on(name, x), uniform))
    assert (data == samples).all()
    assert len(density) == count - 2
    assert all((one == 255.0).all() for one in density)
    # A shade is the root of a count: its square is even over the map, but for chance.
    parts = (data**2).reshape(8, 12, 8, 12).mean(axis=(1, 3))
    assert parts.std() / parts.mean() < 0.05


@pytest.mark.parametrize(
    ("name", "point", "row", "column"),
    [
        ("SPHERE", [0.0, 1.0, 0.0], 1 / 2, 3 / 4),  # a quarter turn east, on the equator
        ("SPHERE", [0.6, 0.0, -0.8], 0.9, 1 / 2),  # the south lies below
        ("TORUS", [3.0, 1.0], 1 - 1.0 / (2 * np.pi), 3.0 / (2 * np.pi)),
        ("ROTATIONS", [np.cos(0.5), np.sin(0.5), 0.0, 0.0], (1 - np.cos(1.0)) / 2, 1 / 4),
    ],
)
def test_a_point_of_a_manifold_lies_where_a_map_has_it(
    name: str, point: list[float], row: float, column: float
) -> None:
    x = np.array([point])
    data = maps(sample_grid(x, on(name, x)))[0]
    found = np.argwhere(data == data.max())[0]
    assert found == pytest.approx(np.array([row, column]) * DENSITY_BINS, abs=1.0)


def test_without_a_density_data_and_samples_stand_side_by_side() -> None:
    assert len(maps(sample_grid(DATA, loaded()))) == 2


@pytest.mark.parametrize("empty", [-np.inf, np.nan])
def test_places_without_density_are_empty(empty: float) -> None:
    def half(x: NDArray[Any]) -> NDArray[np.float64]:
        return np.where(x[:, 0] > 0, gaussian(x), empty)

    density = maps(sample_grid(DATA, loaded(), half))[2]
    assert density[:, : DENSITY_BINS // 3].max() == 0.0
    assert density.max() == 255.0


@pytest.mark.parametrize(
    ("given", "shares"),
    [
        ({"label": np.array([1, 0, 1, 1])}, {0.0: 0.25, 1.0: 0.75}),
        ({"shift": np.ones((3, 1)), "label": np.zeros(3, dtype=int)}, {1.0: 1.0}),
        (
            {"shift": np.arange(31.0)[:, None]},
            {2.0 * n: 1 / MOST_CONTEXTS for n in range(MOST_CONTEXTS)},
        ),
    ],
    ids=["labels", "both", "real values"],
)
def test_a_conditional_density_is_averaged_over_contexts(
    given: dict[str, NDArray[Any]], shares: dict[float, float]
) -> None:
    def moved(x: NDArray[Any], context: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        assert {name: len(values) for name, values in context.items()} == dict.fromkeys(given, 50)
        by = sum(values.reshape(-1, 1) for values in context.values())
        return gaussian(x - by)

    expected = sum(share * np.exp(gaussian(DATA[:50] - by)) for by, share in shares.items())
    found = over_contexts(moved, given)(DATA[:50])
    assert np.exp(found) == pytest.approx(expected)
