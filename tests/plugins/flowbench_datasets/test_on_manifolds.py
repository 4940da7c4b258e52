from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flowbench.api import DataSplits
from flowbench.api.data import Manifold
from flowbench.api.manifolds import ROTATIONS, SPHERE, TORUS, mass_on
from flowbench.errors import DataError
from flowbench_datasets import on_manifolds
from flowbench_datasets.on_manifolds import Points, convert_earth
from tests.plugins.flowbench_datasets.collect import collect

Law = tuple[Manifold, Callable[[Points], Points], Callable[[Path], DataSplits]]
LAWS: list[Law] = [
    (SPHERE, on_manifolds.log_density_sphere, on_manifolds.load_sphere),
    (TORUS, on_manifolds.log_density_torus, on_manifolds.load_torus),
    (ROTATIONS, on_manifolds.log_density_rotations, on_manifolds.load_rotations),
]


@pytest.mark.parametrize(("manifold", "log_density", "load"), LAWS, ids=lambda law: "")
def test_points_follow_a_density_that_integrates_to_1(
    manifold: Manifold,
    log_density: Callable[[Points], Points],
    load: Callable[[Path], DataSplits],
) -> None:
    rng = np.random.default_rng(0)
    mass = mass_on(manifold, log_density, rng, 40_000)
    assert abs(mass.value - 1) < 4 * mass.stderr < 0.1
    test = load(Path()).test.x.astype(np.float64)
    assert manifold.contains(test).all()
    # The mean of 1 / p over draws of p is the volume, where p is nowhere too small; the mean of the
    # density itself is its square's integral, which uniform points know too.
    uniform = manifold.sample_uniform(40_000, rng)
    squares = manifold.volume * np.exp(2 * log_density(uniform))
    drawn = np.exp(log_density(test))
    error = np.hypot(squares.std() / 200, drawn.std() / len(drawn) ** 0.5)
    assert abs(squares.mean() - drawn.mean()) < 4 * error


def test_a_rotation_has_one_density() -> None:
    x = ROTATIONS.sample_uniform(100, np.random.default_rng(0))
    one, other = (on_manifolds.log_density_rotations(q) for q in (x, -x))
    assert one == pytest.approx(other)


HEADINGS = {
    "fire.csv": ["# https://example.org/fires"],
    "volerup.csv": ["# https://example.org/volcanoes?dataset=102557", "Latitude,Longitude"],
    "flood.csv": ["# http://example.org/index.html\r", "lat,long\r"],
    "quakes_all.csv": [
        "# https://example.org/form?t=101650&s=1\r",
        "# removed events with missing lat or lon\r",
        "# more datasets https://example.org/lists\r",
        "LATITUDE,LONGITUDE\r",
    ],
}
"""Of the published files, which end without a new line; two of them are of another system."""


def write(folder: Path, *lines: str, name: str = "quakes_all.csv") -> dict[str, Path]:
    path = folder / name
    path.write_bytes("\n".join(lines).encode())
    return {path.name: path}


@pytest.mark.parametrize("name", HEADINGS)
def test_places_are_unit_vectors_and_split_8_to_1_to_1(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    places = np.column_stack([rng.uniform(-90, 90, 41), rng.uniform(-180, 180, 41)])
    end = "\r" if HEADINGS[name][0].endswith("\r") else ""
    lines = [f"{latitude},{longitude}{end}" for latitude, longitude in places]
    splits = collect(convert_earth(write(tmp_path, *HEADINGS[name], *lines, name=name)))
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 33,
        "validation": 4,
        "test": 4,
    }
    every = np.concatenate([split.x for split in splits.values()])
    assert SPHERE.contains(every).all()
    back = np.degrees(np.arcsin(every[:, 2].astype(np.float64)))
    assert np.sort(back) == pytest.approx(np.sort(places[:, 0]), abs=1e-3)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a,b", "line 12 of .*expected latitude and longitude"),
        ("12.5", "line 12 of .*expected latitude and longitude"),
        ("120.0,30.0", "line 12 of .*no latitude within 90"),
        ("nan,30.0", "line 12 of .*no latitude within 90"),
    ],
)
def test_lines_that_are_no_places_are_told(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        collect(convert_earth(write(tmp_path, "latitude,longitude", *["1.0,2.0"] * 10, line)))


def test_a_file_without_places_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 0 places, expected 10 or more"):
        collect(convert_earth(write(tmp_path, "<!DOCTYPE html>", "<p>not found</p>")))
