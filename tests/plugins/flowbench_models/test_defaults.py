from __future__ import annotations

import pytest

from flowbench_models.defaults import halving_problem, is_large
from tests.plugins.flowbench_models.fixtures import MakeDataset


@pytest.mark.parametrize(
    ("shape", "times", "problem"),
    [
        ((3, 8, 16), 3, None),
        ((3, 12, 16), 2, None),
        ((3, 12, 16), 3, "glow needs height and width divisible by 8, some-data has 12x16; fewer"),
        ((64,), 1, "glow needs images (C, H, W), some-data has events of shape (64,)"),
    ],
)
def test_sizes_that_cannot_be_halved_are_named(
    shape: tuple[int, ...], times: int, problem: str, dataset: MakeDataset
) -> None:
    assert halving_problem(dataset(*shape), times, model="glow", remedy="fewer") == problem


@pytest.mark.parametrize(
    ("shape", "large"),
    [((3, 32, 32), True), ((1, 28, 28), False), ((3, 16, 16), False), ((3, 64, 20), False)],
)
def test_large_presets_are_for_images_above_16x16_that_halve_three_times(
    shape: tuple[int, ...], large: bool, dataset: MakeDataset
) -> None:
    assert is_large(dataset(*shape)) is large
