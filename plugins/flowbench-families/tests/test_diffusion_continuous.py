"""Diffusion in continuous time: its bound where it is exact, and what networks are told."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from flowbench.api import Batch, DatasetInfo, SamplingOptions, Step
from forms import images
from torch import Tensor

from flowbench_families.diffusion import ddpmpp
from flowbench_families.diffusion.augmentation import NUM_CHANGES, SHIFT_STD, SIZE_STD, changed
from flowbench_families.diffusion.config import DiffusionConfig
from flowbench_families.diffusion.continuous import ContinuousModel
from flowbench_families.diffusion.ddpmpp import DDPMPP, DDPMPPConfig, spread_at, time_at
from flowbench_families.diffusion.edm import EDM, EDMConfig
from flowbench_families.diffusion.vdm import VDM, VDMConfig

STD = 0.4
"""Of images of one pixel that are normal."""

LEVELS = 4001  # so near each other that the density is even within a bin
POINT = images(1, 1, 1, LEVELS)
ONE: dict[str, Any] = {"width": 8, "multipliers": (1,)}


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def _known(y: Tensor, place: Tensor) -> tuple[Tensor, None]:
    """What such an image is expected to be, given noise of a spread around it."""
    variance = place.view(-1, 1, 1, 1).square()
    return y * STD**2 / (STD**2 + variance), None


MAKES: dict[str, Callable[[], ContinuousModel]] = {
    "vdm": lambda: VDM(VDMConfig(**ONE), POINT),
    "ddpmpp": lambda: DDPMPP(DDPMPPConfig(**ONE), POINT),
    "edm": lambda: EDM(EDMConfig(**ONE), POINT),
}
every = pytest.mark.parametrize("name", MAKES)


@every
@pytest.mark.parametrize("level", [2000, 2700, 800])
def test_the_bound_is_the_likelihood_if_the_denoiser_is_right(
    name: str, level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MAKES[name]()
    monkeypatch.setattr(model, "denoise", _known)
    levels = torch.full((4000, 1, 1, 1), level)
    with torch.no_grad():
        drawn = -model.log_prob(levels, generator=torch.Generator().manual_seed(1))
    x = float(model.values(levels[:1]))
    apart = 2 * model.top / (LEVELS - 1)
    exact = 0.5 * (x / STD) ** 2 + math.log(STD * math.sqrt(2 * math.pi) / apart)
    error = 5 * float(drawn.std()) / math.sqrt(len(drawn))
    assert abs(float(drawn.mean()) - exact) < error + 5e-3
    assert error < 1.2


@every
def test_samples_follow_the_law_of_the_images(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = MAKES[name]()
    monkeypatch.setattr(model, "denoise", _known)
    for solver in ("ancestral", "ddim", "heun"):
        settings = model.config.sampling.model_validate({"solver": solver, "steps": 100})
        x, _ = model.sample(4000, settings=settings, generator=torch.Generator().manual_seed(2))
        assert float(model.values(x).std()) == pytest.approx(STD, rel=0.08)


@every
def test_training_learns_the_noise(name: str) -> None:
    """Of one image all noise can be told."""
    torch.manual_seed(0)
    model = MAKES[name]()
    batch = Batch(x=torch.full((256, 1, 1, 1), 3000))
    generator = torch.Generator().manual_seed(3)
    step = Step(progress=torch.tensor(0.5), phase=0, group="all", generator=generator, seed=0)
    losses = []
    for _ in range(30):
        loss = model.loss(batch, step)
        assert isinstance(loss, Tensor)
        parameters = [p for p in model.parameters() if p.requires_grad]
        with torch.no_grad():
            for p, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                p.sub_(5e-3 * gradient.sign())
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


def test_vdm_learns_where_noise_begins_and_ends() -> None:
    model, fixed = VDM(VDMConfig(**ONE), POINT), VDM(VDMConfig(**ONE, schedule="fixed"), POINT)
    assert model.num_parameters() == fixed.num_parameters() + 2
    model.log_prob(torch.full((64, 1, 1, 1), 2500)).sum().backward()
    for end in (model.low, model.range):
        assert end.grad is not None and end.grad != 0
    path = model.path(4)
    assert [2 * math.log(s) for s in path] == pytest.approx([5.0, 1.75, -1.5, -4.75, -8.0])


def test_vdm_sees_values_as_waves() -> None:
    """A sine and a cosine of each frequency beside the values themselves."""
    model = VDM(VDMConfig(**ONE, features=(2,)), POINT)
    assert model.get_parameter("network.enter.weight").shape[1] == 3
    plain = VDM(VDMConfig(**ONE, features=()), POINT)
    assert plain.get_parameter("network.enter.weight").shape[1] == 1


def test_times_go_with_spreads() -> None:
    times = torch.tensor([1e-5, 1e-3, 0.3, 1.0])
    torch.testing.assert_close(time_at(spread_at(times)), times, rtol=1e-9, atol=0)
    # The part of the image's variance that is left, from the paper's eq. 33.
    kept = torch.exp(-0.25 * times.square() * 19.9 * 2 - 0.5 * times * 0.1 * 2)
    torch.testing.assert_close(1 / (1 + spread_at(times).square()), kept)
    assert ddpmpp.FIRST_SAMPLED == 1e-3


def test_edm_starts_as_what_is_right_for_noise_of_the_usual_spread() -> None:
    model = EDM(EDMConfig(**ONE), POINT)
    y, spread = torch.randn(5, 1, 1, 1), torch.rand(5) + 0.1
    expected = y * 0.25 / (0.25 + spread.view(-1, 1, 1, 1).square())
    torch.testing.assert_close(model.denoise(y, spread)[0], expected, rtol=1e-3, atol=1e-4)


def test_fewer_levels_are_told_under_more_noise() -> None:
    for levels, smallest in ((4001, 0.002), (256, 0.002), (16, 0.032)):
        model = EDM(EDMConfig(**ONE), images(1, 1, 1, levels))
        assert math.exp(0.5 * float(model.ends()[0])) == pytest.approx(smallest)
        assert model.path(None)[-2] == pytest.approx(smallest)


def test_edm_takes_35_evaluations_for_18_steps() -> None:
    model = EDM(EDMConfig(**ONE), POINT)
    options: SamplingOptions = model.config.sampling()
    _, info = model.sample(2, settings=options, generator=torch.Generator())
    assert int(info["num_function_evaluations"]) == 35
    path = model.path(None)
    assert [path[0], *path[-2:]] == pytest.approx([80.0, 0.002, 0.0])


@pytest.mark.parametrize(
    ("make", "config", "preset", "num_parameters"),
    [
        (VDM, VDMConfig, "cifar10", 30_578_181),
        (VDM, VDMConfig, "imagenet32", 122_137_605),
        (DDPMPP, DDPMPPConfig, "cifar10", 61_804_419),
        (DDPMPP, DDPMPPConfig, "cifar10-deep", 106_632_579),
        (EDM, EDMConfig, "cifar10", 55_733_891),
    ],
)
def test_counts_are_those_of_released_code(
    make: Callable[[DiffusionConfig, DatasetInfo], ContinuousModel],
    config: type[DiffusionConfig],
    preset: str,
    num_parameters: int,
) -> None:
    with torch.device("meta"):
        made = config.model_validate(config.presets[preset].values)
        model = make(made, images(3, 32, 32, 256))
    assert model.num_parameters() == num_parameters


# --- changes of images ----------------------------------------------------------------------------


def _blobs(num: int, size: int = 41) -> Tensor:
    at = torch.arange(size) - (size - 1) / 2
    blob = torch.exp(-(at.square() + at[:, None].square()) / (2 * 3.0**2))
    return blob.expand(num, 1, size, size)


def test_images_without_changes_are_mirrored_at_most() -> None:
    x = torch.rand(64, 1, 6, 5)
    out, told = changed(x, 0.0, torch.Generator().manual_seed(0))
    assert told.shape == (64, NUM_CHANGES) and not told[:, 1:].any()
    mirrored = told[:, 0] == 1
    assert 0 < int(mirrored.sum()) < 64
    assert torch.equal(out[mirrored], x[mirrored].flip(3))
    assert torch.equal(out[~mirrored], x[~mirrored])


def test_what_is_told_of_shifts_and_sizes_is_what_was_done() -> None:
    num = 2000
    out, told = changed(_blobs(num), 0.15, torch.Generator().manual_seed(0))
    at = torch.arange(41) - 20.0
    mass = out.sum(dim=(1, 2, 3))
    middle = torch.stack(
        ((out.sum(dim=(1, 2)) * at).sum(1) / mass, (out.sum(dim=(1, 3)) * at).sum(1) / mass), dim=1
    )
    is_changed = told[:, 2:] != 0
    only_shift = (is_changed[:, 5:].any(1)) & ~is_changed[:, :5].any(1)
    only_shift &= told[:, 7:].abs().amax(1) < 1.2
    assert int(only_shift.sum()) > 50
    expected = told[only_shift][:, 7:] * SHIFT_STD * 41
    torch.testing.assert_close(middle[only_shift], expected, rtol=0.02, atol=0.1)
    only_size = is_changed[:, 0] & ~is_changed[:, 1:].any(1) & (told[:, 2].abs() < 2)
    width = ((out.sum(dim=(1, 2)) * at.square()).sum(1) / mass).sqrt()
    torch.testing.assert_close(
        width[only_size], 3.0 * (SIZE_STD * told[only_size][:, 2]).exp2(), rtol=0.03, atol=0.0
    )


def test_edm_is_told_of_changes() -> None:
    model = EDM(EDMConfig(**ONE, augmentation=0.5), images(1, 4, 4, 5))
    batch = Batch(x=torch.randint(5, (16, 1, 4, 4)))
    step = Step(progress=torch.tensor(0.5), phase=0, group="all", generator=None, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    loss = model.loss(batch, step)
    assert isinstance(loss, Tensor)
    loss.backward()
    assert model.told_changes is not None and model.told_changes.weight.grad is not None
    assert (model.told_changes.weight.grad.abs().sum(0) > 0).all()
