from __future__ import annotations

import pytest
import torch
from flowbench.api import Batch, SamplingOptions
from forms import images
from torch import Tensor

from flowbench_families.pixelcnnpp.config import PixelCNNPPConfig
from flowbench_families.pixelcnnpp.model import PixelCNNPP

SHAPES = [(3, 8, 8), (1, 6, 6), (2, 5, 3), (1, 1, 4), (1, 4, 1)]


def _model(channels: int, height: int, width: int, levels: int = 4) -> PixelCNNPP:
    """A calibrated model with weights of float64 that are all at work."""
    torch.manual_seed(0)
    data = images(channels, height, width, levels)
    model = PixelCNNPP(PixelCNNPPConfig(width=4, blocks=2, components=2), data)
    x = torch.randint(levels, (32, *data.event_shape))
    with torch.no_grad():
        model.initialize(Batch(x=x), generator=torch.Generator())
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.double().eval()


@pytest.mark.parametrize("shape", SHAPES)
def test_no_pixel_sees_itself_or_what_comes_later(shape: tuple[int, int, int]) -> None:
    model = _model(*shape)
    num = shape[1] * shape[2]
    x = torch.randint(4, (1, *shape))
    # Of each copy another pixel is changed, in all its channels.
    changed = x.flatten(2) + torch.eye(num, dtype=torch.long).unsqueeze(1)
    both = torch.cat((x, changed.view(num, *shape)))
    before, *after = model.parameters_of(both).flatten(2).unbind()
    for place, parameters in enumerate(after):
        differs = (parameters - before).abs().amax(dim=0) > 0
        assert not differs[: place + 1].any()
        assert differs[place + 1 : place + 2].all()


@pytest.mark.parametrize("shape", SHAPES)
def test_pixel_by_pixel_layers_compute_what_they_compute_at_once(
    shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _model(*shape)
    seen: list[Tensor] = []
    draw = model.law.sample

    def watched(parameters: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
        seen.append(parameters[..., 0, 0])
        return draw(parameters, temperature, generator)

    monkeypatch.setattr(model.law, "sample", watched)
    x = model.sample(3, settings=SamplingOptions(), generator=torch.Generator().manual_seed(1))
    at_once = model.parameters_of(x)
    torch.testing.assert_close(torch.stack(seen, dim=-1).view_as(at_once), at_once)


def test_counts_are_those_of_the_released_code() -> None:
    values = PixelCNNPPConfig.presets["cifar10"].values
    with torch.device("meta"):
        model = PixelCNNPP(PixelCNNPPConfig.model_validate(values), images(3, 32, 32, 256))
    assert model.num_parameters_training() == 53_659_080
    assert model.num_parameters() == 53_618_660


def test_dropout_is_drawn_in_training_alone() -> None:
    config = PixelCNNPPConfig(width=4, dropout=0.5)
    model = PixelCNNPP(config, images(1, 4, 4, 4))
    x = torch.randint(4, (2, 1, 4, 4))
    assert not torch.equal(model.log_prob(x), model.log_prob(x))
    model.eval()
    assert torch.equal(model.log_prob(x), model.log_prob(x))


def test_presets_go_by_size() -> None:
    assert PixelCNNPPConfig.default_preset(images(1, 8, 8, 17)) == "digits"
    assert PixelCNNPPConfig.default_preset(images(3, 32, 32, 256)) == "natural-patches"


def test_real_values_are_refused() -> None:
    reason = PixelCNNPPConfig().unsupported(images(1, 8, 8, None))
    assert reason == "pixelcnnpp gives integer levels probabilities, some-images has real values"
