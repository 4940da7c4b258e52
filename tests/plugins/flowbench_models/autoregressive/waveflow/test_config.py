from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flowbench.api import ContextInput, DatasetInfo, LastK, Likelihood
from flowbench_models.autoregressive.waveflow.config import NanoFlowAudioConfig, WaveFlowConfig

SPEECH = DatasetInfo(
    name="speech",
    modality="audio",
    event_shape=(1, 4096),
    levels=None,
    context={"mel": ContextInput(shape=(80, 64), stride=64)},
    ragged=True,
    num_train=10,
    num_validation=1,
    num_test=1,
)


def _likelihood(data: DatasetInfo) -> Likelihood:
    kind = WaveFlowConfig().likelihood(data)
    assert isinstance(kind, Likelihood)
    return kind


def test_the_density_is_given_the_spectrogram_where_there_is_one() -> None:
    assert _likelihood(SPEECH).given == ("mel",)
    assert _likelihood(replace(SPEECH, context={})).given == ()


@pytest.mark.parametrize(
    ("changes", "values", "reason"),
    [
        ({}, {}, None),
        ({"event_shape": (1, 4100)}, {}, "4,100 values do not fill 16 rows"),
        # That is the length of a window here, not of the dataset's own segments.
        ({"event_shape": (1, 4100)}, {"training": {"window": 4096}}, None),
        ({}, {"training": {"window": 4100}}, "4,100 values do not fill 16 rows"),
        ({"event_shape": (2, 4096)}, {}, "speech has 2"),
        ({"context": {"mel": ContextInput(shape=(80, 64))}}, {}, "stride None"),
    ],
)
def test_waveforms_of_one_channel_are_taken_that_rows_divide(
    changes: dict[str, Any], values: dict[str, Any], reason: str | None
) -> None:
    found = WaveFlowConfig.model_validate(values).unsupported(replace(SPEECH, **changes))
    assert found is None if reason is None else reason in str(found)


@pytest.mark.parametrize("config", [WaveFlowConfig, NanoFlowAudioConfig])
def test_presets_are_taken_by_length(config: type[WaveFlowConfig]) -> None:
    for length, preset in ((16_000, "tiny"), (2048, "tiny"), (64, "toy"), (2, "toy")):
        data = replace(SPEECH, event_shape=(1, length))
        assert config.default_preset(data) == preset
        values = config.presets[preset].values
        assert config.model_validate(values).unsupported(data) is None


@pytest.mark.parametrize(
    ("preset", "batch_size", "drops"),
    [("64ch", 8, [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6]), ("64ch-g4", 2, [0.4, 0.8])],
)
def test_paper_presets_halve_their_rate_every_200k_steps(
    preset: str, batch_size: int, drops: list[float]
) -> None:
    training = WaveFlowConfig.model_validate(WaveFlowConfig.presets[preset].values).training
    assert training.batch_size == batch_size
    assert training.phases[0].drops == pytest.approx(drops)
    assert training.average == LastK(count=10, every=5000)
