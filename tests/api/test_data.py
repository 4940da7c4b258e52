from __future__ import annotations

import numpy as np
import pytest

from flowbench.api import Artifact, Chart, DataSplits, Manifold, Ragged, Split
from flowbench.api.manifolds import ROTATIONS, SPHERE, TORUS

POINTS = Split(x=np.arange(6.0).reshape(3, 2), context={"label": np.arange(3)})


def test_taken_examples_keep_their_context() -> None:
    taken = POINTS.take(np.array([2, 0]))
    assert taken.x.tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert taken.context["label"].tolist() == [2, 0]


def test_a_split_that_there_is_not_says_who_makes_it() -> None:
    splits = DataSplits(train=POINTS, test=POINTS)
    assert splits["test"] is POINTS
    with pytest.raises(KeyError, match="the harness makes it"):
        splits["validation"]


def test_ragged_examples_are_counted_by_their_lengths() -> None:
    assert len(Ragged(values=np.zeros((1, 9)), lengths=np.array([4, 3, 2]))) == 3


def test_a_manifold_knows_its_points() -> None:
    square = Manifold(
        name="square",
        dim=2,
        volume=1.0,
        sample_uniform=lambda num, rng: rng.uniform(size=(num, 2)),
        contains=lambda x: np.all((x >= 0) & (x < 1), axis=1),
    )
    points = square.sample_uniform(5, np.random.default_rng(0))
    assert square.contains(points).all()
    assert not square.contains(points + 1).any()


@pytest.mark.parametrize("manifold", [SPHERE, TORUS, ROTATIONS], ids=lambda m: m.name)
def test_a_chart_gives_equal_areas_to_equal_shares(manifold: Manifold) -> None:
    chart = manifold.chart
    assert isinstance(chart, Chart)
    points = manifold.sample_uniform(4000, np.random.default_rng(0))
    low, high = np.transpose(chart.ends)
    share = (chart.to_plane(points) - low) / (high - low)
    assert (share > -1e-6).all()
    assert (share < 1 + 1e-6).all()
    # Uniform over the rectangle: each cell of a grid has its part of the points.
    counts = np.histogram2d(share[:, 0], share[:, 1], bins=4, range=[[0, 1], [0, 1]])[0]
    assert np.abs(counts - 250).max() < 5 * np.sqrt(250)
    if chart.from_plane is not None:
        back = chart.to_plane(chart.from_plane(chart.to_plane(points)))
        assert np.abs((back - low) / (high - low) - share).max() < 1e-5


def test_an_artifact_may_have_a_thumbnail() -> None:
    clip = Artifact(name="clip", media_type="audio/wav", content=b"RIFF", thumbnail=b"PNG")
    assert (clip.content, clip.thumbnail) == (b"RIFF", b"PNG")
