from __future__ import annotations

import pytest
from pydantic import ValidationError

from flowbench_models.coupling.nanoflow.config import NanoFlowConfig
from tests.plugins.flowbench_models.fixtures import MakeDataset


def _preset(name: str) -> NanoFlowConfig:
    return NanoFlowConfig.model_validate(NanoFlowConfig.presets[name].values)


def test_fewer_gates_than_layers_are_refused() -> None:
    with pytest.raises(ValidationError, match="gate_rows=1 is less than the 2"):
        NanoFlowConfig(gate_rows=1)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 64, 64), (3, 256, 256)])
def test_default_preset_runs_on_images_of_any_size(
    shape: tuple[int, ...], dataset: MakeDataset
) -> None:
    data = dataset(*shape)
    config = _preset(NanoFlowConfig.default_preset(data))
    assert config.unsupported(data) is None


@pytest.mark.parametrize(("preset", "epochs"), [("k32", 3000), ("alt", 600)])
def test_paper_schedule_warms_up_over_five_epochs(preset: str, epochs: int) -> None:
    training = _preset(preset).training
    (phase,) = training.phases
    assert phase.warmup * epochs == pytest.approx(5)
    assert (training.optimizer, training.lr, training.weight_decay) == ("adamax", 5e-4, 5e-5)
    assert (training.batch_size, training.init_examples, training.average) == (64, 512, None)
    assert training.augment == ("horizontal_flip", "shift_tenth_zeros")
    assert NanoFlowConfig.presets[preset].summary.endswith(f"--budget {epochs}epochs")


@pytest.mark.parametrize("name", NanoFlowConfig.presets)
def test_every_preset_is_a_valid_configuration(name: str) -> None:
    _preset(name)
