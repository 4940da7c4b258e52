from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from flowbench.api import Artifact
from flowbench.leaderboard.build.details import _curve, _samples
from flowbench.runner.grid import picture_of
from flowbench.store.attempt_files import AttemptContents
from tests.store import attempts as make


def contents(modality: str, png: bytes | None = None) -> AttemptContents:
    record = make.attempt(data={"modality": modality})
    return AttemptContents(record=record, curves=make.curve(2.0), samples_png=png, log_prob=None)


@pytest.mark.parametrize(
    ("modality", "unit"), [("image", "bits/dim"), ("vector", "bits/dim"), ("sequence", "bits/char")]
)
def test_a_dimension_of_text_is_a_character(modality: str, unit: str) -> None:
    curve = _curve(contents(modality))
    assert curve is not None
    assert curve.unit == unit


def test_text_that_a_picture_carries_is_shown_as_text() -> None:
    text = "the first\n\nthe \x1b[31msecond"
    artifact = Artifact(name="samples", media_type="text/plain", content=text.encode())
    png = picture_of(artifact)
    assert png is not None
    grid = _samples([contents("sequence", png)])
    assert grid is not None
    assert grid.text.splitlines() == ["the first", "", "the second"]
    with Image.open(io.BytesIO(png)) as image:
        assert np.asarray(image).min() < 128  # and is there to see


@pytest.mark.parametrize("png", [make.png(), make.png()[:60], b"\x89PNG"], ids=len)
def test_other_pictures_carry_none(png: bytes) -> None:
    found = contents("sequence", png.ljust(24, b"\0"))
    grid = _samples([found])
    assert grid is not None
    assert grid.text == ""


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
    grid = _samples([contents(modality, stream.getvalue())])
    assert grid is not None
    assert grid.caption == caption
