from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from flowbench.leaderboard.build.details import _curve, _samples
from flowbench.store.artifacts import grid_as_artifacts
from flowbench.store.attempt_files import AttemptContents
from tests.store import attempts as make


def contents(modality: str, png: bytes | None = None) -> AttemptContents:
    record = make.attempt(data={"modality": modality})
    artifacts = () if png is None else grid_as_artifacts(png)
    return AttemptContents(record=record, curves=make.curve(2.0), artifacts=artifacts)


@pytest.mark.parametrize(
    ("modality", "unit"), [("image", "bits/dim"), ("vector", "bits/dim"), ("sequence", "bits/char")]
)
def test_a_dimension_of_text_is_a_character(modality: str, unit: str) -> None:
    curve = _curve(contents(modality))
    assert curve is not None
    assert curve.unit == unit


@pytest.mark.parametrize(
    ("modality", "width", "caption"),
    [
        ("vector", 290, "seed 0: test data, samples, density"),
        ("manifold", 290, "seed 0: test data, samples, density"),
        ("manifold", 193, "seed 0: test data, samples"),
        ("image", 290, "seed 0"),
    ],
)
def test_heat_maps_of_a_plane_or_a_manifold_are_named(
    modality: str, width: int, caption: str
) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((96, width), dtype=np.uint8)).save(stream, format="PNG")
    grid = _samples(contents(modality, stream.getvalue()))
    assert grid is not None
    assert grid.caption == caption
