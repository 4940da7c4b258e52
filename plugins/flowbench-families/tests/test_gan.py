"""Adversarial networks: whose gradients are whose, and what the penalty is."""

from __future__ import annotations

import pytest
import torch
from flowbench.api import Batch, NoLikelihood, Step, split_info
from forms import images, vectors
from torch import nn

from flowbench_families.gan.config import VECTORS, DCGANConfig, WGANGPConfig
from flowbench_families.gan.model import DCGAN, WGANGP, Adversarial, gradient_penalty

SMALL = {"width": 4, "noise_dims": 3}


def _models() -> list[Adversarial]:
    torch.manual_seed(0)
    some = images(2, 8, 8, 17)
    vector = WGANGPConfig(width=8, noise_dims=3, preprocessing=VECTORS)
    return [
        DCGAN(DCGANConfig.model_validate(SMALL), some),
        WGANGP(WGANGPConfig.model_validate(SMALL), some),
        WGANGP(vector, vectors(2)),
    ]


def _step(group: str) -> Step:
    noise = torch.Generator().manual_seed(0)
    return Step(progress=torch.zeros(()), phase=0, group=group, generator=noise, seed=0)


@pytest.mark.parametrize("model", _models())
@pytest.mark.parametrize("group", ["critic", "generator"])
def test_gradients_of_a_group_touch_its_own_parameters_alone(
    model: Adversarial, group: str
) -> None:
    model.zero_grad()
    x = torch.randn(6, *model.data.event_shape)
    split_info(model.loss(Batch(x=x), _step(group)))[0].backward()
    groups = model.optimizer_groups()
    assert list(groups) == ["critic", "generator"]
    for name, parameters in groups.items():
        assert all((p.grad is not None) == (name == group) for p in parameters)


@pytest.mark.parametrize(
    ("model", "config", "critic"),
    [(DCGAN, DCGANConfig, 4_116_225), (WGANGP, WGANGPConfig, 4_114_689)],
)
def test_counts_are_those_of_the_released_code(
    model: type[DCGAN | WGANGP], config: type[DCGANConfig | WGANGPConfig], critic: int
) -> None:
    configured = config.model_validate(config.presets["cifar10"].values)
    with torch.device("meta"):
        built = model(configured, images(3, 32, 32, 256))  # type: ignore[arg-type]
    assert built.num_parameters() == 5_179_907
    assert built.num_parameters_training() == 5_179_907 + critic


def test_the_critic_steps_five_times_as_often() -> None:
    # A preset says of its training what differs from the configuration's own.
    assert WGANGPConfig.presets["digits"].values["training"] == {"lr": 1e-3}
    trainings = [
        WGANGPConfig.model_validate(WGANGPConfig.presets[name].values).training
        for name in ("cifar10", "toy")
    ]
    for training in (WGANGPConfig().training, *trainings):
        assert training.apart("generator").every == 5
        assert training.apart("critic").every == 1


def test_in_the_plane_the_generator_steps_at_every_third() -> None:
    training = WGANGPConfig.model_validate(WGANGPConfig.presets["vector"].values).training
    assert (training.apart("generator").every, training.lr) == (3, 2e-3)


def test_the_penalty_of_a_linear_critic_and_its_gradient_are_known() -> None:
    critic = nn.Linear(3, 1).double()
    penalty = gradient_penalty(critic, torch.randn(7, 3, dtype=torch.float64))
    norm = critic.weight.norm()
    torch.testing.assert_close(penalty, (norm - 1.0).square())
    (found,) = torch.autograd.grad(penalty, critic.weight)
    (expected,) = torch.autograd.grad((norm - 1.0).square(), critic.weight)
    torch.testing.assert_close(found, expected)


def test_the_penalty_has_the_gradient_of_finite_differences() -> None:
    torch.manual_seed(0)
    first = nn.Linear(3, 5)
    critic = nn.Sequential(first, nn.Tanh(), nn.Linear(5, 1)).double()
    x = torch.randn(4, 3, dtype=torch.float64)
    weight = first.weight
    (found,) = torch.autograd.grad(gradient_penalty(critic, x), weight)
    with torch.no_grad():
        weight[1, 2] += 1e-6
        above = gradient_penalty(critic, x)
        weight[1, 2] -= 2e-6
        below = gradient_penalty(critic, x)
    torch.testing.assert_close(found[1, 2], (above - below) / 2e-6, rtol=1e-6, atol=1e-9)


def test_the_critic_is_told_by_what_its_loss_is_made_of() -> None:
    model = _models()[2]
    x = torch.randn(64, 2)
    loss, info = split_info(model.loss(Batch(x=x), _step("critic")))
    expected = 10.0 * info["gradient_penalty"] - info["critic_distance"]
    torch.testing.assert_close(loss.detach(), expected)


def test_samples_are_of_the_generator_at_a_temperature() -> None:
    for model in _models():
        model.eval()
        one, half = (
            model.sample(
                4,
                settings=model.config.sampling(temperature=temperature),
                generator=torch.Generator().manual_seed(0),
            )
            for temperature in (1.0, 0.5)
        )
        assert one.shape == (4, *model.data.event_shape)
        assert not torch.equal(one, half)


def test_they_have_no_likelihood_and_say_why() -> None:
    for model in _models():
        kind = model.config.likelihood(model.data)
        assert isinstance(kind, NoLikelihood)
        assert kind.reason == "a generator gives samples alone, neither a density nor a bound"


def test_what_they_do_not_take_is_refused() -> None:
    assert DCGANConfig().unsupported(vectors(2)) == (
        "dcgan needs images (C, H, W), some-vectors has events of shape (2,)"
    )
    assert WGANGPConfig().unsupported(images(1, 7, 8, 4)) == (
        "wgan-gp needs an even height and width, some-images has 7x8"
    )
    assert WGANGPConfig().unsupported(images(1, 8, 8, None)) == (
        "wgan-gp draws integer levels, some-images has real values"
    )
    assert WGANGPConfig().unsupported(vectors(2)) is None


def test_presets_go_by_size() -> None:
    given = (images(1, 8, 8, 17), images(3, 32, 32, 256), vectors(2))
    names = [WGANGPConfig.default_preset(data) for data in given]
    assert names == ["digits", "natural-patches", "vector"]
