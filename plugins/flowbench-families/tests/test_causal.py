"""What holds of all models that go pixel by pixel, by streams or by attention."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from flowbench.api import Batch, DatasetInfo, SamplingOptions, split_info
from flowbench.api.progress import progress_to
from forms import images
from torch import Tensor

from flowbench_families.pixel_model import PixelModel
from flowbench_families.pixel_transformer import PixelTransformer, PixelTransformerConfig
from flowbench_families.pixelcnn import PixelCNN, PixelCNNConfig
from flowbench_families.pixelcnnpp.config import PixelCNNPPConfig
from flowbench_families.pixelcnnpp.model import PixelCNNPP
from flowbench_families.pixels import PixelConfig

Make = Callable[[DatasetInfo], PixelModel]
LEVELS = 4


def _pixelcnnpp(data: DatasetInfo) -> PixelModel:
    return PixelCNNPP(PixelCNNPPConfig(width=4, blocks=2, components=2), data)


def _pixelcnn(data: DatasetInfo) -> PixelModel:
    return PixelCNN(PixelCNNConfig(width=4, layers=3), data)


def _pixel_transformer(data: DatasetInfo) -> PixelModel:
    return PixelTransformer(PixelTransformerConfig(width=8, head_dim=4, layers=2), data)


makes = pytest.mark.parametrize("make", [_pixelcnnpp, _pixelcnn, _pixel_transformer])
of_streams = pytest.mark.parametrize("make", [_pixelcnnpp, _pixelcnn])
shapes = pytest.mark.parametrize("shape", [(3, 8, 8), (1, 6, 6), (2, 5, 3), (1, 1, 4), (1, 4, 1)])


def _model(make: Make, shape: tuple[int, int, int]) -> PixelModel:
    """A calibrated model with weights of float64 that are all at work."""
    torch.manual_seed(0)
    model = make(images(*shape, levels=LEVELS))
    with torch.no_grad():
        x = torch.randint(LEVELS, (32, *shape))
        model.initialize(Batch(x=x), generator=torch.Generator())
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.double().eval()


@makes
@shapes
def test_no_pixel_sees_itself_or_what_comes_later(make: Make, shape: tuple[int, int, int]) -> None:
    model = _model(make, shape)
    num = shape[1] * shape[2]
    x = torch.randint(LEVELS, (1, *shape))
    # Of each copy another pixel is changed, in all its channels.
    changed = (x.flatten(2) + torch.eye(num, dtype=torch.long).unsqueeze(1)) % LEVELS
    both = torch.cat((x, changed.view(num, *shape)))
    before, *after = model.parameters_of(both).flatten(2).unbind()
    for place, parameters in enumerate(after):
        # More than rounding, which goes with the place in a batch.
        differs = (parameters - before).abs().amax(dim=0) > 1e-12
        assert not differs[: place + 1].any()
        in_its_row = place + 1 < num and (place + 1) % shape[2]
        assert differs[place + 1] if in_its_row else True
        below = place + shape[2]
        assert differs[below] if below < num else True


@makes
@shapes
def test_pixel_by_pixel_layers_compute_what_they_compute_at_once(
    make: Make, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _model(make, shape)
    seen: list[Tensor] = []
    draw = model.law.sample

    def watched(parameters: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
        seen.append(parameters[..., 0, 0])
        return draw(parameters, temperature, generator)

    monkeypatch.setattr(model.law, "sample", watched)
    drawn = model.sample(3, settings=SamplingOptions(), generator=torch.Generator().manual_seed(1))
    at_once = model.parameters_of(split_info(drawn)[0])
    torch.testing.assert_close(torch.stack(seen, dim=-1).view_as(at_once), at_once)


@makes
def test_sampling_says_how_far_it_is(make: Make) -> None:
    parts: list[float] = []
    with progress_to(parts.append):
        make(images(1, 2, 3, LEVELS)).eval().sample(
            1, settings=SamplingOptions(), generator=torch.Generator()
        )
    assert parts == [(place + 1) / 6 for place in range(6)]


@of_streams
def test_norms_of_weights_count_in_training_alone(make: Make) -> None:
    model = make(images(1, 4, 4, LEVELS))
    norms = [p.numel() for name, p in model.named_parameters() if name.endswith("magnitude")]
    assert model.num_parameters_training() - model.num_parameters() == sum(norms) > 0


@makes
def test_what_is_no_image_of_integers_is_refused(make: Make) -> None:
    config = make(images(1, 4, 4, LEVELS)).config
    reason = f"{config.called} gives integer levels probabilities, some-images has real values"
    assert config.unsupported(images(1, 8, 8, None)) == reason


@makes
def test_probabilities_of_all_images_sum_to_one(make: Make) -> None:
    model = _model(make, (2, 1, 2))
    levels = torch.tensor(list(itertools.product(range(LEVELS), repeat=4))).view(-1, 2, 1, 2)
    with torch.no_grad():
        total = model.log_prob(levels).exp().sum()
    torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-10, atol=0)


@pytest.mark.parametrize("config", [PixelCNNPPConfig, PixelCNNConfig, PixelTransformerConfig])
def test_presets_go_by_size(config: type[PixelConfig]) -> None:
    assert config.default_preset(images(1, 8, 8, 17)) == "digits"
    assert config.default_preset(images(3, 32, 32, 256)) == "natural-patches"
