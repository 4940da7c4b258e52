from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from flowbench_models.augmented.denseflow.config import DenseFlowConfig
from tests.plugins.flowbench_models.fixtures import MakeDataset


def _config(**changes: Any) -> DenseFlowConfig:
    return DenseFlowConfig.model_validate(changes)


def _preset(name: str) -> DenseFlowConfig:
    return DenseFlowConfig.model_validate(DenseFlowConfig.presets[name].values)


@pytest.mark.parametrize(
    ("preset", "epochs", "fine_tuning", "steps"),
    [("74-10", 400, 20, 312_800), ("74-10-imagenet64", 10, 1, 400_360)],
)
def test_paper_schedule_warms_up_over_5000_steps_then_fine_tunes(
    preset: str, epochs: int, fine_tuning: int, steps: int
) -> None:
    training = _preset(preset).training
    first, second = training.phases
    assert first.share == pytest.approx(epochs / (epochs + fine_tuning))
    assert first.warmup * steps == pytest.approx(5000)
    assert (training.optimizer, training.lr, second.lr, second.warmup) == ("adamax", 1e-3, 2e-5, 0)


@pytest.mark.parametrize(
    ("preset", "augment"),
    [("74-10", ("horizontal_flip", "shift")), ("74-10-celeba64", ("horizontal_flip",))],
)
def test_training_images_are_changed_as_in_the_released_code(preset: str, augment: Any) -> None:
    assert _preset(preset).training.augment == augment


@pytest.mark.parametrize(
    ("preset", "budget"),
    [
        ("74-10", "420epochs"),
        ("74-10-imagenet32", "22epochs"),
        ("74-10-imagenet64", "11epochs"),
        ("74-10-celeba64", "55epochs"),
        ("ablation-4", "310epochs"),
    ],
)
def test_summary_gives_the_whole_run(preset: str, budget: str) -> None:
    assert DenseFlowConfig.presets[preset].summary.endswith(f"--budget {budget}")


@pytest.mark.parametrize(
    ("preset", "changed"),
    [
        ("ablation-last", {"cross_unit": ("all", "last")}),
        ("ablation-no-attention", {"attention": ("faithful", "none")}),
    ],
)
def test_switches_of_the_text_change_one_thing(preset: str, changed: Any) -> None:
    base, other = _preset("45-6-imagenet32").model_dump(), _preset(preset).model_dump()
    assert {key: (base[key], other[key]) for key in base if base[key] != other[key]} == changed


def test_papers_models_attend_as_released_and_small_ones_as_usual() -> None:
    for name, preset in DenseFlowConfig.presets.items():
        if name != "ablation-no-attention":
            paper = preset.source == "paper"
            assert _preset(name).attention == ("faithful" if paper else "standard")


@pytest.mark.parametrize("preset", ["ablation-1", "ablation-2", "ablation-3"])
def test_unpublished_width_is_named_as_an_assumption(preset: str) -> None:
    facts = DenseFlowConfig.presets[preset]
    assert facts.source == "paper"
    assert any("512" in assumption for assumption in facts.assumptions)


@pytest.mark.parametrize("name", DenseFlowConfig.presets)
def test_every_preset_is_a_valid_configuration(name: str) -> None:
    _preset(name)


def test_dequantization_alone_switches_the_preprocessing(dataset: MakeDataset) -> None:
    data = dataset(1, 4, 4)
    variational, uniform = _config(), _config(dequantization="uniform")
    assert variational.preprocessing.support == "discrete"
    assert uniform.preprocessing.noise is not None
    assert variational.likelihood(data).dequantization == "variational"
    assert uniform.likelihood(data).dequantization == "uniform"
    assert variational.likelihood(data).noise == uniform.likelihood(data).noise == "weights"
    dumped = uniform.model_dump(mode="json")
    assert DenseFlowConfig.model_validate(dumped) == uniform
    assert DenseFlowConfig.model_validate({**dumped, "dequantization": "variational"}) == (
        variational
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": (2, 1), "modules": (1,)}, "one number >= 1 for each block"),
        ({"units": (0, 1)}, "one number >= 1 for each block"),
        ({"dequantization": "uniform", "logit_alpha": 0.05}, "preprocessing.bijections"),
        ({"preprocessing": {"support": "continuous"}}, "contradicts preprocessing.support"),
        ({"checkpointing": True, "training": {"compile": True}}, "does not go with checkpointing"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        _config(**changes)


def test_networks_without_batch_norms_are_compiled_and_checkpointed() -> None:
    both = {"checkpointing": True, "training": {"compile": True}}
    assert _config(coupling="convolutional", **both).training.compile


def test_real_values_are_refused(dataset: MakeDataset) -> None:
    assert "real values" in (_config().unsupported(dataset(1, 4, 4, levels=None)) or "")
