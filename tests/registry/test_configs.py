from __future__ import annotations

import pytest

from flowbench.api import DatasetInfo, Ema
from flowbench.data.library.splits import validation_size
from flowbench.errors import ConfigError, UnknownNameError
from flowbench.registry import Registry
from flowbench.registry.configs import configure


def info(registry: Registry, name: str) -> DatasetInfo:
    spec = registry.dataset(name).spec
    return spec.info(validation_size(spec))


def test_the_dataset_chooses_the_preset(fake_registry: Registry) -> None:
    images = configure(fake_registry, "fake-gaussian", info(fake_registry, "fake-images"), {})
    vectors = configure(fake_registry, "fake-gaussian", info(fake_registry, "fake-vectors"), {})
    assert (images.preset, vectors.preset) == ("images", "vectors")
    assert vectors.config.preprocessing.noise is None


def test_overrides_reach_nested_fields_and_keep_their_neighbours(fake_registry: Registry) -> None:
    data = info(fake_registry, "fake-images")
    got = configure(fake_registry, "fake-gaussian", data, {"training.lr": 0.5, "width": 9}).config
    assert (got.training.lr, got.training.batch_size) == (0.5, 16)
    assert got.model_dump()["width"] == 9


@pytest.mark.parametrize("preset", ["images", "averaged"])
def test_an_average_is_set_by_its_decay(fake_registry: Registry, preset: str) -> None:
    data = info(fake_registry, "fake-images")
    key = "training.average.decay"
    got = configure(fake_registry, f"fake-gaussian:{preset}", data, {key: 0.99}).config
    assert got.training.average == Ema(decay=0.99)
    with pytest.raises(ConfigError, match=r"fake-gaussian\.training\.average\.decay: .* got 2"):
        configure(fake_registry, f"fake-gaussian:{preset}", data, {key: 2})


def test_what_comes_later_is_refused_by_its_name(fake_registry: Registry) -> None:
    data = info(fake_registry, "fake-images")
    key = "preprocessing.context"
    with pytest.raises(ConfigError, match=r"preprocessing\.context: not yet; context arrives"):
        configure(fake_registry, "fake-gaussian", data, {key: {"label": {"kind": "standardise"}}})


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("training.average.rate", "unknown key 'rate' of 'fake-gaussian.training.average'"),
        (
            "training.groups.critic.lr",
            "unknown key 'lr' of 'fake-gaussian.training.groups.critic'",
        ),
        ("widht", "unknown key 'widht' of 'fake-gaussian'; did you mean 'width'?"),
        ("training.rate", "unknown key 'rate' of 'fake-gaussian.training'"),
        ("width.x", "is a value, it has no key 'x'"),
    ],
)
def test_unknown_keys_name_the_valid_ones(fake_registry: Registry, key: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configure(fake_registry, "fake-gaussian", info(fake_registry, "fake-images"), {key: 1})


def test_a_value_that_is_not_valid_names_its_key(fake_registry: Registry) -> None:
    data = info(fake_registry, "fake-images")
    with pytest.raises(ConfigError, match=r"fake-gaussian\.training\.lr: .* got -1"):
        configure(fake_registry, "fake-gaussian", data, {"training.lr": -1})


def test_an_unknown_preset_lists_the_known(fake_registry: Registry) -> None:
    data = info(fake_registry, "fake-images")
    with pytest.raises(UnknownNameError, match="did you mean 'images'"):
        configure(fake_registry, "fake-gaussian:image", data, {})
