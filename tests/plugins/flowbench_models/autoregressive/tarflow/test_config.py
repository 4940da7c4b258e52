from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from flowbench.api import GaussianNoise, SampleSettings, UniformDequantization
from flowbench.api.config import sampling_options, unsupported_sampling
from flowbench.data.library.splits import validation_size
from flowbench.errors import ConfigError
from flowbench.registry import PluginSelection, Registry, load_registry
from flowbench.registry.configs import configure
from flowbench.runner.describe import describe_model
from flowbench_models.autoregressive.tarflow.config import TarFlowConfig, TarFlowSampling

COUNTS = [
    ("imagenet64", "imagenet64", 460_142_784),
    ("imagenet64-gen", "imagenet64", 460_142_784),
    ("imagenet64-cond", "imagenet64", 466_286_784),
    ("imagenet64-cond-4-1024", "imagenet64", 817_636_096),
    ("imagenet128", "imagenet128", 823_927_552),
    ("afhq256", "afhq256", 463_481_856),
    ("mnist", "mnist", 3_227_776),
]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry(PluginSelection())


def configured(registry: Registry, preset: str, dataset: str, **overrides: Any) -> TarFlowConfig:
    spec = registry.dataset(dataset).spec
    info = spec.info(validation_size(spec))
    config = configure(registry, f"tarflow:{preset}", info, overrides).config
    assert isinstance(config, TarFlowConfig)
    return config


@pytest.mark.parametrize(("preset", "dataset", "count"), COUNTS)
def test_published_models_have_their_parameters(
    registry: Registry, preset: str, dataset: str, count: int
) -> None:
    assert describe_model(registry, f"tarflow:{preset}", dataset, {})["num_parameters"] == count


def test_the_likelihood_of_each_kind_of_preset(registry: Registry) -> None:
    kinds = {
        preset: describe_model(registry, f"tarflow:{preset}", dataset, {})["likelihood"]["measure"]
        for preset, dataset in (("imagenet64", "imagenet64"), ("mnist", "mnist"))
    }
    assert kinds == {"imagenet64": "discrete", "mnist": "noisy"}


def test_the_paper_trains_likelihoods_in_float32_and_generation_in_bfloat16() -> None:
    precision = {
        name: preset.values["training"].precision
        for name, preset in TarFlowConfig.presets.items()
        if name.startswith(("imagenet", "afhq"))
    }
    assert precision.pop("imagenet64") == "float32"
    assert set(precision.values()) == {"bfloat16"}


SIGMA_EPOCHS_BATCH = {
    "imagenet64": (None, 100, 256),
    "imagenet64-gen": (0.05, 200, 256),
    "imagenet64-cond": (0.05, 200, 256),
    "imagenet128": (0.15, 320, 768),
    "afhq256": (0.07, 4000, 256),
    "mnist": (0.1, 100, 256),
}


@pytest.mark.parametrize("name", SIGMA_EPOCHS_BATCH)
def test_published_models_have_their_noise_and_training(name: str) -> None:
    sigma, epochs, batch_size = SIGMA_EPOCHS_BATCH[name]
    config = TarFlowConfig(**dict(TarFlowConfig.presets[name].values))
    training, (phase,) = config.training, config.training.phases
    assert getattr(config.preprocessing.noise, "sigma", None) == sigma
    assert (training.optimizer, training.betas) == ("adamw", (0.9, 0.95))
    assert (training.weight_decay, training.batch_size) == (1e-4, batch_size)
    assert phase.schedule == "cosine"
    assert phase.warmup == pytest.approx(1 / epochs)
    assert training.lr * phase.final_lr_ratio == pytest.approx(1e-6)
    assert config.label_dropout == 0.1
    assert config.class_conditional == (name not in ("imagenet64", "imagenet64-gen"))


@pytest.mark.parametrize(
    ("dataset", "preset"),
    [("digits", "tiny"), ("natural-patches", "small"), ("mnist", "small")],
)
def test_default_presets(registry: Registry, dataset: str, preset: str) -> None:
    spec = registry.dataset(dataset).spec
    info = spec.info(validation_size(spec))
    assert TarFlowConfig.default_preset(info) == preset
    assert TarFlowConfig(**dict(TarFlowConfig.presets[preset].values)).unsupported(info) is None


def test_the_noise_can_be_switched(registry: Registry) -> None:
    gaussian = {"kind": "gaussian_noise", "sigma": 0.3}
    noisy = configured(registry, "tiny", "digits", **{"preprocessing.noise": gaussian})
    assert noisy.preprocessing.noise == GaussianNoise(sigma=0.3)
    uniform = {"kind": "uniform_dequantization"}
    plain = configured(registry, "mnist", "mnist", **{"preprocessing.noise": uniform})
    assert plain.preprocessing.noise == UniformDequantization()


@pytest.mark.parametrize(
    ("values", "dataset", "message"),
    [
        ({"patch_size": 3}, "digits", "divisible by it"),
        ({"patch_size": 8}, "digits", "two tokens or more"),
        ({"patch_size": 1, "block": "coupling"}, "digits", "two values in a token"),
        ({"class_conditional": True}, "natural-patches", "has none"),
        ({}, "two-moons", "needs images (C, H, W)"),
    ],
)
def test_what_does_not_fit_is_said(
    registry: Registry, values: dict[str, Any], dataset: str, message: str
) -> None:
    spec = registry.dataset(dataset).spec
    reason = TarFlowConfig(**values).unsupported(spec.info(validation_size(spec)))
    assert message in (reason or "")


def test_heads_fill_the_width() -> None:
    with pytest.raises(ValueError, match="multiple of head_dim"):
        TarFlowConfig(width=100)


REFUSED = [
    ("tiny", {"guide": 1}, "unknown sampling option 'guide'; this model knows: temperature, guid"),
    ("tiny", {"guidance": 2}, "this tarflow sees no labels"),
    ("tiny", {"guidance": -1}, "sampling option guidance"),
    ("tiny", {"attention_temperature": 0.5}, "bears on guidance alone"),
    ("tiny-cond", {"guidance_schedule": "linear"}, "bears on guidance alone"),
    ("tiny-cond", {"guidance": 1, "guidance_schedule": "cubic"}, "guidance_schedule"),
    ("tiny", {"denoise": True}, "trained with gaussian_noise"),
    ("tiny-gen", {"checkpoint": True}, "bears on denoising alone"),
    ("tiny-gen", {"denoise": "perhaps"}, "sampling option denoise"),
    ("tiny", {"segments": 4}, "segments bears on sampler=jacobi alone"),
    ("tiny", {"most_sweeps": 2}, "most_sweeps bears on sampler=jacobi alone"),
    ("tiny", {"sampler": "newton"}, "sampling option sampler"),
    (
        "tiny-cond",
        {"sampler": "jacobi", "guidance": 1, "attention_temperature": 0.5},
        "knows no attention_temperature",
    ),
]


@pytest.mark.parametrize(("preset", "options", "message"), REFUSED)
def test_options_that_do_nothing_are_refused_beforehand(
    registry: Registry, preset: str, options: dict[str, Any], message: str
) -> None:
    spec = registry.dataset("digits").spec
    info = spec.info(validation_size(spec))
    config = configured(registry, preset, "digits")
    settings = SampleSettings(options=options)
    assert message in (unsupported_sampling(config, settings, info) or "")


def test_options_that_apply_are_taken(registry: Registry) -> None:
    spec = registry.dataset("digits").spec
    info = spec.info(validation_size(spec))
    options = {"guidance": 2, "guidance_schedule": "linear", "denoise": True, "checkpoint": True}
    config = configured(registry, "tiny-gen", "digits")
    taken = sampling_options(config, SampleSettings(options=options), info)
    assert isinstance(taken, TarFlowSampling)
    assert taken.guidance == 2.0


def test_noise_in_the_models_space(registry: Registry) -> None:
    """17 levels span [-1, 1] in steps of 1/8 if the scale is closed, of 2/17 if it is not."""
    spec = registry.dataset("digits").spec
    info = spec.info(validation_size(spec))
    noise = {"preprocessing.noise": {"kind": "gaussian_noise", "sigma": 0.5}}
    closed = configured(registry, "tiny-gen", "digits", **noise)
    assert closed.noise_in_model_space(info) == pytest.approx(0.5)
    opened = configured(registry, "small", "digits", **noise)
    assert opened.noise_in_model_space(info) == pytest.approx(0.5 * 16 / 17)
    with pytest.raises(ConfigError):
        configured(registry, "tiny", "digits").noise_in_model_space(info)


def test_only_a_model_trained_both_ways_has_a_density_given_the_label(registry: Registry) -> None:
    spec = registry.dataset("digits").spec
    info = spec.info(validation_size(spec))
    assert configured(registry, "tiny", "digits").also_given(info) == ()
    assert configured(registry, "tiny-cond", "digits").also_given(info) == (("label",),)


def test_couplings_are_not_swept(registry: Registry) -> None:
    spec = registry.dataset("digits").spec
    info = spec.info(validation_size(spec))
    config = configured(registry, "tiny", "digits", block="coupling")
    settings = SampleSettings(options={"sampler": "jacobi"})
    assert "inverted in one pass" in (unsupported_sampling(config, settings, info) or "")


def test_layers_are_one_number_or_one_for_each_block() -> None:
    assert TarFlowConfig(blocks=2, layers=3).layers_of(1) == 3
    assert [TarFlowConfig(blocks=2, layers=(1, 4)).layers_of(block) for block in (0, 1)] == [1, 4]
    with pytest.raises(ValidationError, match="one for each of 3 blocks"):
        TarFlowConfig(blocks=3, layers=(1, 4))
