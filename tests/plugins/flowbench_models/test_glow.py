from __future__ import annotations

import pytest
import torch

from flowbench.api import Batch, SampleSettings, Step
from flowbench.errors import ConfigError
from flowbench_models.bijections import ActNorm
from flowbench_models.glow import Glow, GlowConfig


def _preset(name: str, **changes: object) -> GlowConfig:
    return GlowConfig.model_validate({**GlowConfig.presets[name].values, **changes})


@pytest.mark.parametrize(
    ("preset", "count"),
    [
        ("256ch", 15_972_912),  # NanoFlow (arXiv 2006.06280), table 4: 15.973 M
        ("512ch", 44_235_312),  # 44.235 M
        ("large", 287_488_560),  # 287.489 M
    ],
)
def test_paper_presets_have_the_papers_parameter_counts(preset, count, dataset):
    with torch.device("meta"):
        model = Glow(_preset(preset), dataset(3, 32, 32, levels=256))
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.fixture(params=["affine-plu", "affine-full", "additive-plu"])
def tiny(request, dataset, perturb) -> Glow:
    coupling, permutation = request.param.split("-")
    config = GlowConfig(levels=2, steps=2, width=3, coupling=coupling, permutation=permutation)
    return perturb(Glow(config, dataset(1, 4, 8)), std=0.1)


def test_latents_and_data_map_to_each_other(tiny):
    x = torch.randn(3, 1, 4, 8, dtype=torch.float64)
    latents, _ = tiny.to_latent(x)
    assert tuple(z.shape[1:] for z in latents) == tiny.latent_shapes()
    torch.testing.assert_close(tiny.from_latent(latents), x, rtol=0, atol=1e-6)


def test_ladj_is_that_of_the_joint_map_to_all_latents(tiny, jacobian_log_abs_det):
    x = torch.randn(2, 1, 4, 8, dtype=torch.float64)
    _, ladj = tiny.to_latent(x)
    expected = jacobian_log_abs_det(lambda event: tiny.to_latent(event)[0], x)
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-5)


def test_encoding_a_sample_gives_back_its_noise(tiny):
    generator = torch.Generator().manual_seed(1)
    noise = tuple(
        z.double()
        for z in tiny.sample_base(
            4, temperature=0.8, generator=generator, device=torch.device("cpu")
        )
    )
    latents, _ = tiny.to_latent(tiny.from_latent(noise))
    torch.testing.assert_close(latents, noise)


def test_first_batch_leaves_every_actnorm_normalised(dataset):
    model = Glow(GlowConfig(levels=2, steps=3, width=8), dataset(1, 8, 8))
    x = 5.0 + 2.0 * torch.randn(64, 1, 8, 8)
    seen: list[torch.Tensor] = []
    norms = [module for module in model.modules() if isinstance(module, ActNorm)]
    hooks = [norm.register_forward_hook(lambda _, __, out: seen.append(out[0])) for norm in norms]
    model.initialize(Batch(x=x))
    for hook in hooks:
        hook.remove()
    assert len(seen) == len(norms) == 2 * 3 * 3
    for z in seen:
        std, mean = torch.std_mean(z, dim=(0, 2, 3), correction=0)
        torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-3)
        torch.testing.assert_close(std, torch.ones_like(std), rtol=0, atol=1e-3)


def test_fresh_model_is_a_rotation_of_standardised_data(dataset):
    # With couplings at their start only actnorm, rotations and sigmoid(2) change volumes.
    model = Glow(GlowConfig(levels=1, steps=1, width=4, coupling="additive"), dataset(1, 4, 4))
    x = torch.randn(5, 1, 4, 4)
    latents, ladj = model.to_latent(x)
    torch.testing.assert_close(ladj, torch.zeros(5), rtol=0, atol=1e-4)
    torch.testing.assert_close(latents[0].flatten(1).norm(dim=1), x.flatten(1).norm(dim=1))


def test_temperature_scales_the_noise(dataset):
    model = Glow(GlowConfig(levels=1, steps=1, width=4), dataset(1, 4, 4))
    cold, warm = (
        model.sample(
            2,
            settings=SampleSettings(temperature=temperature),
            generator=torch.Generator().manual_seed(0),
        )
        for temperature in (0.5, 1.0)
    )
    torch.testing.assert_close(2.0 * cold, warm)


def test_every_parameter_receives_a_gradient(dataset):
    model = Glow(GlowConfig(levels=2, steps=1, width=4), dataset(1, 4, 4))
    step = Step(index=0, progress=0.0, phase=0, group="all", generator=torch.Generator())
    model.loss(Batch(x=torch.randn(4, 1, 4, 4)), step).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_bfloat16_networks_leave_the_flow_in_float32(dataset):
    model = Glow(GlowConfig(levels=2, steps=1, width=4), dataset(1, 4, 4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        latents, ladj = model.to_latent(torch.randn(4, 1, 4, 4))
    assert {z.dtype for z in latents} == {ladj.dtype} == {torch.float32}


@pytest.mark.parametrize(("shape", "reason"), [((2,), "images"), ((3, 12, 16), "divisible by 8")])
def test_what_does_not_fit_is_refused_with_a_reason(shape, reason, dataset):
    with pytest.raises(ConfigError, match=reason):
        Glow(GlowConfig(), dataset(*shape))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 64, 64), (3, 256, 256)])
def test_default_preset_runs_on_images_of_any_size(shape, dataset):
    data = dataset(*shape)
    config = _preset(GlowConfig.default_preset(data))
    assert config.unsupported(data) is None


@pytest.mark.parametrize("name", GlowConfig.presets)
def test_every_preset_is_a_valid_configuration(name):
    _preset(name)
