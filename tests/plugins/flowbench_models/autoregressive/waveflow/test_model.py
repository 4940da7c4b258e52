from __future__ import annotations

import math
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from flowbench.api import (
    ConfigError,
    ContextInput,
    DatasetInfo,
    SamplingOptions,
    ShapeError,
)
from flowbench_models.autoregressive.waveflow.config import NanoFlowAudioConfig, WaveFlowConfig
from flowbench_models.autoregressive.waveflow.model import NanoFlowAudio, WaveFlow
from flowbench_models.autoregressive.waveflow.network import Estimator, Upsampler, of_all_rows
from tests.benchmarks.bench_waveflow import without_kept_rows
from tests.plugins.flowbench_models.fixtures import JacobianLogAbsDet, Perturb, tensor

SPEECH = DatasetInfo(
    name="speech",
    modality="audio",
    event_shape=(1, 32),
    levels=None,
    context={"mel": ContextInput(shape=(5, 4), stride=8)},
    ragged=True,
    num_train=10,
    num_validation=1,
    num_test=1,
)
SILENT = replace(SPEECH, context={})
LJSPEECH = replace(
    SPEECH, event_shape=(1, 16_000), context={"mel": ContextInput(shape=(80, 63), stride=256)}
)
SIZES: dict[str, Any] = {"flows": 2, "rows": 4, "channels": 4, "layers": 2, "bins": 4}
VARIANTS: dict[str, tuple[type[WaveFlow], dict[str, Any], DatasetInfo]] = {
    "waveflow": (WaveFlow, {}, SPEECH),
    "waveflow:rqs": (WaveFlow, {"law": "rqs"}, SPEECH),
    "unconditional": (WaveFlow, {"flows": 1}, SILENT),
    "nanoflow": (NanoFlowAudio, {"flows": 3, "embedding": 3}, SPEECH),
    "nanoflow:rqs": (NanoFlowAudio, {"law": "rqs", "embedding": 3}, SILENT),
    "naive": (NanoFlowAudio, {"embedding": 0, "shared_projection": True}, SPEECH),
}


def _model(name: str, **changes: Any) -> WaveFlow:
    kind, values, data = VARIANTS[name]
    config = NanoFlowAudioConfig if kind is NanoFlowAudio else WaveFlowConfig
    return kind(config.model_validate({**SIZES, **values, **changes}), data)


def _given(model: WaveFlow, num: int, length: int = 32) -> dict[str, Tensor]:
    mel = torch.randn(num, 5, -(-length // 8), dtype=next(model.parameters()).dtype)
    return {"mel": mel} if model.data.context else {}


@pytest.fixture(params=list(VARIANTS))
def small(request: pytest.FixtureRequest, perturb: Perturb) -> WaveFlow:
    return perturb(_model(request.param))


@pytest.mark.parametrize(
    ("preset", "count", "training"),
    [  # NanoFlow (arXiv 2006.06280), tables 2, 3 and 5; before folding as in released code
        ("128ch", 22_335_714, 22_385_892),
        ("64ch", 5_925_090, 5_950_180),
        ("64ch-g4", 5_925_090, 5_950_180),
        ("rqs", 22_432_434, 22_482_612),
    ],
)
def test_waveflow_has_the_papers_parameter_counts(preset: str, count: int, training: int) -> None:
    with torch.device("meta"):
        config = WaveFlowConfig.model_validate(WaveFlowConfig.presets[preset].values)
        model = WaveFlow(config, LJSPEECH)
    assert (model.num_parameters(), model.num_parameters_training()) == (count, training)


@pytest.mark.parametrize(
    ("preset", "count", "training"),
    [
        ("naive", 2_792_134, 2_798_408),
        ("decomp", 2_793_954, 2_800_228),
        ("default", 2_818_530, 3_865_188),
        ("k16", 2_845_186, 4_936_324),
        ("rqs", 2_915_250, 3_961_908),
        ("64ch", 754_018, 883_108),
    ],
)
def test_nanoflow_has_the_papers_parameter_counts(preset: str, count: int, training: int) -> None:
    with torch.device("meta"):
        config = NanoFlowAudioConfig.model_validate(NanoFlowAudioConfig.presets[preset].values)
        model = NanoFlowAudio(config, LJSPEECH)
    assert (model.num_parameters(), model.num_parameters_training()) == (count, training)


def test_ladj_is_that_of_the_jacobian(
    small: WaveFlow, jacobian_log_abs_det: JacobianLogAbsDet
) -> None:
    x, given = torch.randn(1, 1, 32, dtype=torch.float64), _given(small, 1)
    _, ladj = small.to_latent(x, given)
    expected = jacobian_log_abs_det(lambda event: small.to_latent(event, given)[0], x)
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-10)


@torch.no_grad()
def test_inverse_gives_back_waveforms(small: WaveFlow) -> None:
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        small.to(dtype)
        x, given = torch.randn(3, 1, 32, dtype=dtype), _given(small, 3)
        latents, _ = small.to_latent(x, given)
        back = small.from_latent(latents, given)
        torch.testing.assert_close(back, x, rtol=tolerance, atol=tolerance)


@torch.no_grad()
def test_kept_rows_sample_what_whole_passes_sample(small: WaveFlow) -> None:
    z, given = torch.randn(2, 1, 32, dtype=torch.float64), _given(small, 2)
    expected = without_kept_rows(small, z, given)
    torch.testing.assert_close(small.from_latent((z,), given), expected, rtol=0, atol=1e-12)


@torch.no_grad()
def test_rows_see_those_before_them_alone(small: WaveFlow) -> None:
    x = torch.randn(1, 1, 4, 8, dtype=torch.float64)
    directions = []
    for net, contexts in small._networks(_given(small, 1), 32):
        directions.append(net.backwards)
        parameters = of_all_rows(net, x, contexts())
        for row in range(4):
            moved = x.clone()
            moved[:, :, row] += 1.0
            changes = (of_all_rows(net, moved, contexts()) - parameters).abs().amax(dim=(0, 1, 3))
            seen = [r < row if net.backwards else r > row for r in range(4)]
            assert (changes > 0).tolist() == seen
    assert directions == [flow % 2 == 0 for flow in range(small.config.flows)]


@torch.no_grad()
def test_a_clip_of_any_length_is_the_same_alone_and_in_a_batch(small: WaveFlow) -> None:
    for length in (20, 64):
        x, given = torch.randn(3, 1, length, dtype=torch.float64), _given(small, 3, length)
        together = tensor(small.log_prob(x, given))
        one = {name: values[1:2] for name, values in given.items()}
        alone = tensor(small.log_prob(x[1:2], one))
        torch.testing.assert_close(alone, together[1:2], rtol=1e-12, atol=0)
        (z,), _ = small.to_latent(x, given)
        torch.testing.assert_close(small.from_latent((z,), given), x, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("length", "given", "error", "message"),
    [
        (30, {"mel": torch.zeros(1, 5, 4)}, ShapeError, "30 values do not fill 4 rows"),
        (32, {"mel": torch.zeros(1, 5, 3)}, ShapeError, "3 frames for 32 values; expected 4"),
        (32, {}, ConfigError, "the context has no 'mel'"),
    ],
)
def test_what_does_not_fit_is_said(
    length: int, given: dict[str, Tensor], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        _model("waveflow").to_latent(torch.zeros(1, 1, length), given)


def test_samples_are_as_long_as_a_segment_or_as_their_spectrogram() -> None:
    options = SamplingOptions()
    model = _model("waveflow", training={"window": 20})
    for frames, length in ((3, 20), (4, 32), (9, 72)):
        x = model.sample(
            2,
            {"mel": torch.zeros(2, 5, frames)},
            settings=options,
            generator=torch.Generator(),
        )
        assert x.shape == (2, 1, length)
    unconditional = _model("unconditional")
    drawn = unconditional.sample(2, settings=options, generator=torch.Generator())
    assert drawn.shape == (2, 1, 32)


@torch.no_grad()
def test_a_shared_network_computes_what_the_context_adds_once() -> None:
    for name, times in (("nanoflow", 1), ("waveflow", 2)):
        model = _model(name)
        with mock.patch.object(
            Estimator, "contexts", autospec=True, side_effect=Estimator.contexts
        ) as counted:
            model.from_latent((torch.randn(1, 1, 32),), _given(model, 1))
        assert counted.call_count == times


def test_flows_that_share_a_network_differ_by_their_indication(perturb: Perturb) -> None:
    model = perturb(_model("nanoflow"))
    x, given = torch.randn(1, 1, 4, 8, dtype=torch.float64), _given(model, 1)

    def parameters() -> list[Tensor]:
        nets = model._networks(given, 32)
        return [of_all_rows(net, x, contexts()) for net, contexts in nets]

    first, _, third = parameters()  # both backwards
    assert not torch.allclose(first, third)
    for parts in (model.indications, model.projections):
        assert isinstance(parts, nn.ModuleList)
        parts[2].load_state_dict(parts[0].state_dict())
    first, _, third = parameters()
    torch.testing.assert_close(third, first)


@pytest.mark.parametrize("stride", [1, 2, 15, 64, 93, 256])
def test_a_spectrogram_is_brought_to_the_values_that_it_stands_for(stride: int) -> None:
    mel = torch.randn(1, 4, 3)
    upsampler = Upsampler(stride)
    out = upsampler(mel, 3 * stride)
    assert out.shape == (1, 4, 3 * stride)
    # What a frame is does not reach values far from it, on either side.
    moved = upsampler(torch.cat((mel[..., :2], mel[..., 2:] + 1.0), dim=2), 3 * stride)
    changed = (moved - out).abs().amax(dim=(0, 1)) > 0
    assert changed[-1]
    assert not changed[:stride].any()


@pytest.mark.slow
def test_the_likelihood_of_a_known_process_is_reached() -> None:
    length, weight = 4, 0.9
    rate = -0.5 * math.log(2 * math.pi * math.e * (1 - weight**2))
    # Of variance 1 from the first value on, whose own entropy is that of a standard normal.
    expected = ((length - 1) * rate - 0.5 * math.log(2 * math.pi * math.e)) / length
    torch.manual_seed(0)

    def drawn(num: int) -> Tensor:
        x = torch.randn(num, 1, length)
        for t in range(1, length):
            x[..., t] = weight * x[..., t - 1] + (1 - weight**2) ** 0.5 * x[..., t]
        return x

    data = replace(SILENT, event_shape=(1, length), ragged=False)
    # A row for each value: every one is given all before it.
    sizes = {"flows": 1, "rows": length, "channels": 8, "layers": 1}
    model = WaveFlow(WaveFlowConfig.model_validate(sizes), data)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 250)
    for _ in range(250):
        optimizer.zero_grad()
        (-tensor(model.log_prob(drawn(128))).mean()).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        found = tensor(model.log_prob(drawn(20_000))) / length
    error = 4 * float(found.std()) / 20_000**0.5
    assert expected - error - 0.01 < float(found.mean()) < expected + error


def test_weights_start_as_they_are_without_normalisation() -> None:
    convs = Estimator(6, 3).sights
    torch.testing.assert_close(convs.kernels(), convs.weight)
    bound = (6 * 9) ** -0.5  # of torch's own convolutions
    assert 0.9 * bound < float(convs.weight.detach().abs().max()) <= bound
