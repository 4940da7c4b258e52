from __future__ import annotations

import pytest

from flowbench.registry import PluginSelection, load_registry
from flowbench.registry.configs import config_class
from flowbench_models.defaults import halving_problem, is_large, is_toy
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


@pytest.mark.parametrize(
    ("shape", "toy"),
    [((1, 4, 4), True), ((3, 7, 7), True), ((1, 8, 8), False), ((1, 4, 8), False), ((4,), False)],
)
def test_toys_are_for_images_of_fewer_than_8x8_pixels(
    shape: tuple[int, ...], toy: bool, dataset: MakeDataset
) -> None:
    assert is_toy(dataset(*shape)) is toy


def test_toys_are_taken_by_images_of_a_few_pixels_and_not_by_digits(dataset: MakeDataset) -> None:
    entries = load_registry(PluginSelection(only=("flowbench",))).models.values()
    images = [entry for entry in entries if "image" in entry.spec.modalities]
    with_toys = [config for entry in images if "toy" in (config := config_class(entry)).presets]
    assert with_toys
    for config in with_toys:
        assert config.default_preset(dataset(3, 4, 4)) == "toy"
        assert config.default_preset(dataset(1, 8, 8)) in ("tiny", "digits")
        toy = config.model_validate(config.presets["toy"].values)
        assert toy.unsupported(dataset(3, 4, 4)) is None
