from __future__ import annotations

import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from flowbench.api import Batch, DatasetInfo, SamplingOptions
from flowbench.api.training import Ema
from flowbench.errors import ConfigError
from flowbench_models.bijections.base import (
    Composition,
    ElementwiseMap,
    HalfCoupling,
    Shift,
    SigmoidAffine,
)
from flowbench_models.bijections.channels import ActNorm, FlowStep, FullConv1x1, PLUConv1x1
from flowbench_models.coupling.glow.config import GlowConfig
from flowbench_models.coupling.glow.model import (
    ActNormConv2d,
    Glow,
    GlowConvNet,
    GlowSteps,
    TopPrior,
)
from flowbench_models.coupling.nanoflow.config import NanoFlowConfig
from flowbench_models.nets.convolution import ZeroConv2d
from tests.plugins.flowbench_models.fixtures import (
    AssertBoundTightens,
    AssertIsBijection,
    JacobianLogAbsDet,
    MakeDataset,
    Perturb,
    TrainOn,
    tensor,
)


def _preset(name: str, **changes: object) -> GlowConfig:
    return GlowConfig.model_validate({**GlowConfig.presets[name].values, **changes})


def _count(preset: str, data: DatasetInfo) -> int:
    with torch.device("meta"):
        model = Glow(_preset(preset), data)
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("preset", "count"),
    [
        ("256ch", 15_972_912),  # NanoFlow (arXiv 2006.06280), table 4: 15.973 M
        pytest.param("512ch", 44_235_312, marks=pytest.mark.slow),  # 44.235 M
        pytest.param("large", 287_488_560, marks=pytest.mark.slow),  # 287.489 M
    ],
)
def test_paper_presets_have_the_papers_parameter_counts(
    preset: str, count: int, dataset: MakeDataset
) -> None:
    assert _count(preset, dataset(3, 32, 32, levels=256)) == count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "size", "levels", "steps"),
    [("512ch", 32, 3, 32), ("imagenet32", 32, 3, 48), ("imagenet64", 64, 4, 48)],
)
def test_counts_of_affine_presets_have_their_closed_form(
    preset: str, size: int, levels: int, steps: int, dataset: MakeDataset
) -> None:
    width, channels = 512, [12 * 2**level for level in range(levels)]
    of_nets = [
        width * (9 * c // 2 + 2) + width * (width + 2) + 9 * width * c + 2 * c for c in channels
    ]
    of_steps = [2 * c + 2 * c * c + c + net for c, net in zip(channels, of_nets, strict=True)]
    of_splits = sum(9 * (c // 2) * c + 2 * c for c in channels[:-1])
    of_top = 9 * (2 * channels[-1]) ** 2 + 2 * 2 * channels[-1]
    expected = steps * sum(of_steps) + of_splits + of_top
    assert _count(preset, dataset(3, size, size, levels=256)) == expected


@pytest.mark.parametrize(
    ("preset", "batch_size", "init_examples", "epoch_steps"),
    [  # 8, 8, 8 and 40 GPUs; an epoch is one of 50,000 images of 32x32
        ("512ch", 512, 256, 98),
        ("imagenet32", 512, 256, 98),
        ("imagenet64", 128, 64, 98),
        ("celebahq256", 40, 4, 20),
    ],
)
def test_paper_presets_train_as_the_released_code(
    preset: str, batch_size: int, init_examples: int, epoch_steps: int
) -> None:
    training = _preset(preset).training
    assert (training.optimizer, training.lr) == ("adamax", 1e-3)
    assert (training.batch_size, training.init_examples) == (batch_size, init_examples)
    assert training.augment == (("shift_tenth",) if preset == "512ch" else ())
    assert isinstance(training.average, Ema)
    assert training.average.decay == training.betas[1] == pytest.approx(1 - 1 / epoch_steps)
    (phase,) = training.phases
    assert phase.schedule == "constant"
    summary, _, budget = GlowConfig.presets[preset].summary.partition("; --budget ")
    assert summary
    assert phase.warmup * int(budget.removesuffix("steps")) == pytest.approx(10 * epoch_steps)


@pytest.mark.parametrize("preset", ["256ch", "large"])
def test_presets_compared_in_nanoflow_train_as_it_does(preset: str) -> None:
    assert (
        _preset(preset).training
        == NanoFlowConfig.model_validate(NanoFlowConfig.presets["k32"].values).training
    )


@pytest.fixture(params=["affine-plu", "affine-full", "affine-shuffle", "additive-plu"])
def tiny(request: pytest.FixtureRequest, dataset: MakeDataset, perturb: Perturb) -> Glow:
    coupling, permutation = request.param.split("-")
    config = GlowConfig(levels=2, steps=2, width=3, coupling=coupling, permutation=permutation)
    return perturb(Glow(config, dataset(1, 4, 8)), std=0.1)


def test_latents_and_data_map_to_each_other(tiny: Glow) -> None:
    for dtype, tolerance in ((torch.float64, 1e-6), (torch.float32, 1e-4)):
        x = torch.randn(3, 1, 4, 8, dtype=dtype)
        latents, _ = tiny.to(dtype).to_latent(x)
        assert tuple(z.shape[1:] for z in latents) == tiny.latent_shapes()
        torch.testing.assert_close(tiny.from_latent(latents), x, rtol=tolerance, atol=tolerance)


def test_shuffled_channels_are_not_trained_and_are_kept_with_the_weights(
    dataset: MakeDataset,
) -> None:
    config = GlowConfig(levels=1, steps=3, width=3, permutation="shuffle")
    model, other = (Glow(config, dataset(1, 4, 8)) for _ in range(2))
    learned = Glow(config.model_copy(update={"permutation": "full"}), dataset(1, 4, 8))
    sizes = [sum(p.numel() for p in one.parameters()) for one in (model, learned)]
    assert sizes[1] - sizes[0] == 3 * 4**2
    other.load_state_dict(model.state_dict())
    x = torch.randn(2, 1, 4, 8)
    for mine, loaded in zip(model.to_latent(x)[0], other.to_latent(x)[0], strict=True):
        torch.testing.assert_close(mine, loaded)


@pytest.mark.parametrize("coupling", ["affine", "additive"])
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("num_steps", [100, 400])
def test_training_keeps_the_inverse(
    coupling: str, num_steps: int, dataset: MakeDataset, train_on: TrainOn
) -> None:
    config = GlowConfig(levels=2, steps=2, width=8, coupling=coupling)
    model = Glow(config, dataset(1, 4, 8))
    x = torch.rand(32, 1, 4, 8) - 0.5
    train_on(model, x, num_steps)
    model.eval()
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-6)):
        latents, _ = model.to(dtype).to_latent(x.to(dtype))
        torch.testing.assert_close(
            model.from_latent(latents), x.to(dtype), rtol=tolerance, atol=tolerance
        )


def test_bound_does_not_decrease_in_the_number_of_draws(
    tiny: Glow, assert_bound_tightens: AssertBoundTightens
) -> None:
    assert_bound_tightens(tiny, torch.randint(0, 17, (6, 1, 4, 8)))


def test_ladj_is_that_of_the_joint_map_to_all_latents(
    tiny: Glow, jacobian_log_abs_det: JacobianLogAbsDet
) -> None:
    x = torch.randn(2, 1, 4, 8, dtype=torch.float64)
    _, ladj = tiny.to_latent(x)
    expected = jacobian_log_abs_det(lambda event: tiny.to_latent(event)[0], x)
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-5)


def test_encoding_a_sample_gives_back_its_noise(tiny: Glow) -> None:
    generator = torch.Generator().manual_seed(1)
    noise = tuple(
        z.double()
        for z in tiny.sample_base(
            4, temperature=0.8, generator=generator, device=torch.device("cpu")
        )
    )
    x = tiny.from_latent(noise)
    latents, _ = tiny.to_latent(x)
    torch.testing.assert_close(latents, noise)
    assert tensor(tiny.log_prob(x)).isfinite().all()


def test_first_batch_leaves_every_actnorm_normalised(dataset: MakeDataset) -> None:
    model = Glow(GlowConfig(levels=2, steps=3, width=8), dataset(1, 8, 8))
    x = 5.0 + 2.0 * torch.randn(64, 1, 8, 8)
    seen: list[torch.Tensor] = []
    norms = [module for module in model.modules() if isinstance(module, ActNorm)]
    hooks = [norm.register_forward_hook(lambda _, __, out: seen.append(out[0])) for norm in norms]
    model.initialize(Batch(x=x), generator=torch.Generator())
    for hook in hooks:
        hook.remove()
    assert len(seen) == len(norms) == 2 * 3 * 3
    for z in seen:
        std, mean = torch.std_mean(z, dim=(0, 2, 3), correction=0)
        torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-3)
        torch.testing.assert_close(std, torch.ones_like(std), rtol=0, atol=1e-3)


def test_fresh_model_is_a_rotation_of_standardised_data(dataset: MakeDataset) -> None:
    # With couplings at their start only actnorm, rotations and sigmoid(2) change volumes.
    model = Glow(GlowConfig(levels=1, steps=1, width=4, coupling="additive"), dataset(1, 4, 4))
    x = torch.randn(5, 1, 4, 4)
    latents, ladj = model.to_latent(x)
    torch.testing.assert_close(ladj, torch.zeros(5), rtol=0, atol=1e-4)
    torch.testing.assert_close(latents[0].flatten(1).norm(dim=1), x.flatten(1).norm(dim=1))


def test_temperature_scales_the_noise(dataset: MakeDataset) -> None:
    model = Glow(GlowConfig(levels=2, steps=1, width=4), dataset(1, 4, 4))  # linear as yet
    cold, warm = (
        tensor(
            model.sample(
                2,
                settings=SamplingOptions(temperature=temperature),
                generator=torch.Generator().manual_seed(0),
            )
        )
        for temperature in (0.5, 1.0)
    )
    torch.testing.assert_close(2.0 * cold, warm)


def test_gradients_reach_all_but_the_weights_of_the_top_prior(
    dataset: MakeDataset, perturb: Perturb
) -> None:
    model = perturb(Glow(GlowConfig(levels=2, steps=1, width=8), dataset(1, 4, 8)))
    tensor(model.log_prob(torch.randn(4, 1, 4, 8, dtype=torch.float64))).mean().backward()
    dead = {
        name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()
    }
    (top,) = [name for name, m in model.named_modules() if isinstance(m, TopPrior)]
    assert dead == {f"{top}.net.weight"}


def _saved_numbers(model: Glow, x: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The loss, and how many numbers are kept for its backward pass."""
    sizes: list[int] = []

    def pack(saved: torch.Tensor) -> torch.Tensor:
        sizes.append(saved.numel())
        return saved

    torch.manual_seed(3)  # of the dropout
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        loss = -tensor(model.log_prob(x)).mean()
    return loss, sum(sizes)


def test_checkpointing_changes_memory_alone(dataset: MakeDataset, perturb: Perturb) -> None:
    sizes = {"levels": 2, "steps": 3, "width": 32, "dropout": 0.2}
    plain, kept = (
        Glow(GlowConfig(**sizes, checkpointing=checkpointing), dataset(1, 16, 16))
        for checkpointing in (False, True)
    )
    perturb(plain)
    kept.double().load_state_dict(plain.state_dict())
    x = torch.randn(8, 1, 16, 16, dtype=torch.float64)
    (loss, num_plain), (same, num_kept) = (_saved_numbers(model, x) for model in (plain, kept))
    assert num_kept < 0.5 * num_plain
    torch.testing.assert_close(same, loss)
    loss.backward()
    same.backward()
    for one, other in zip(plain.parameters(), kept.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_bfloat16_networks_leave_the_flow_in_float32(dataset: MakeDataset) -> None:
    model = Glow(GlowConfig(levels=2, steps=1, width=4), dataset(1, 4, 4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        latents, ladj = model.to_latent(torch.randn(4, 1, 4, 4))
    assert {z.dtype for z in latents} == {ladj.dtype} == {torch.float32}


@pytest.mark.parametrize(("shape", "reason"), [((2,), "images"), ((3, 12, 16), "divisible by 8")])
def test_what_does_not_fit_is_refused_with_a_reason(
    shape: tuple[int, ...], reason: str, dataset: MakeDataset
) -> None:
    with pytest.raises(ConfigError, match=reason):
        Glow(GlowConfig(), dataset(*shape))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 64, 64), (3, 256, 256)])
def test_default_preset_runs_on_images_of_any_size(
    shape: tuple[int, ...], dataset: MakeDataset
) -> None:
    data = dataset(*shape)
    config = _preset(GlowConfig.default_preset(data))
    assert config.unsupported(data) is None


@pytest.mark.parametrize("name", GlowConfig.presets)
def test_every_preset_is_a_valid_configuration(name: str) -> None:
    _preset(name)


def _steps(
    mixing: type[PLUConv1x1 | FullConv1x1],
    num_steps: int = 3,
    law: type[ElementwiseMap] = SigmoidAffine,
) -> GlowSteps:
    return GlowSteps(
        FlowStep(
            ActNorm(3),
            mixing(3),
            HalfCoupling(law(), GlowConvNet(2, law.num_parameters, width=4), swap=False),
        )
        for _ in range(num_steps)
    )


@pytest.fixture(params=[PLUConv1x1, FullConv1x1])
def steps(request: pytest.FixtureRequest, perturb: Perturb) -> GlowSteps:
    return perturb(_steps(request.param), std=0.1)


def test_steps_are_a_bijection_of_odd_channels(
    steps: GlowSteps, assert_is_bijection: AssertIsBijection
) -> None:
    assert_is_bijection(steps, torch.randn(2, 3, 2, 4, dtype=torch.float64))


def test_steps_together_equal_steps_one_after_the_other(steps: GlowSteps) -> None:
    x = torch.randn(2, 3, 2, 4, dtype=torch.float64)
    torch.testing.assert_close(steps(x), Composition(steps.steps())(x), check_stride=False)


def test_gradients_of_steps_together_equal_those_one_after_the_other(steps: GlowSteps) -> None:
    x = torch.randn(2, 3, 2, 4, dtype=torch.float64)
    parameters = list(steps.parameters())
    together, apart = (
        torch.autograd.grad((z.square().sum() + ladj.sum()), parameters)
        for z, ladj in (steps(x), Composition(steps.steps())(x))
    )
    torch.testing.assert_close(together, apart)


def test_additive_steps_together_equal_steps_one_after_the_other(
    perturb: Perturb, assert_is_bijection: AssertIsBijection
) -> None:
    steps = perturb(_steps(PLUConv1x1, law=Shift), std=0.1)
    x = torch.randn(2, 3, 2, 4, dtype=torch.float64)
    torch.testing.assert_close(steps(x), Composition(steps.steps())(x), check_stride=False)
    assert_is_bijection(steps, x)


def test_zeros_of_additive_couplings_are_not_kept() -> None:
    zeros: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    class Watched(Shift):
        def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
            z, log_derivative = super().forward(x, parameters)
            alive.append(sum(reference() is not None for reference in zeros))
            zeros.append(weakref.ref(log_derivative))
            return z, log_derivative

    _steps(PLUConv1x1, num_steps=4, law=Watched)(torch.randn(2, 3, 2, 4))
    assert max(alive) == 1  # that of the step before


def test_initialisation_leaves_every_actnorm_normalised() -> None:
    steps = _steps(PLUConv1x1)
    x = 5.0 + 2.0 * torch.randn(64, 3, 4, 4)
    z = steps.initialize(x)
    torch.testing.assert_close(z, steps(x)[0], rtol=0, atol=1e-4)
    for step in steps.steps():
        normalised, _ = step.norm(x)
        torch.testing.assert_close(normalised.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-4)
        x, _ = step(x)


@pytest.mark.parametrize("kernel", [1, 3])
def test_folded_actnorm_equals_convolution_then_actnorm_then_relu(
    kernel: int, perturb: Perturb
) -> None:
    layer = perturb(ActNormConv2d(3, 4, kernel))
    h = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    apart, _ = layer.norm(F.conv2d(h, layer.weight, padding=kernel // 2))
    torch.testing.assert_close(layer(h), apart.relu())


def test_first_batch_leaves_each_hidden_layer_normalised() -> None:
    layer, h = ActNormConv2d(3, 4, 3), 2.0 + torch.randn(16, 3, 6, 6)
    layer.initialize(h)
    normalised, _ = layer.norm(F.conv2d(h, layer.weight, padding=1))
    std, mean = torch.std_mean(normalised, dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(mean, torch.zeros(4), rtol=0, atol=1e-4)
    torch.testing.assert_close(std, torch.ones(4), rtol=0, atol=1e-3)


def test_zero_conv_starts_at_zero_and_scales_its_bias_too() -> None:
    layer, h = ZeroConv2d(3, 2), torch.randn(2, 3, 4, 4)
    assert torch.equal(layer(h), torch.zeros(2, 2, 4, 4))
    with torch.no_grad():
        layer.bias.fill_(1.0)
        layer.log_scale.fill_(0.5)
    torch.testing.assert_close(layer(h), torch.full((2, 2, 4, 4), 1.5).exp())


def test_network_has_one_convolution_for_each_kernel_and_a_zero_output() -> None:
    net = GlowConvNet(3, 6, width=5, hidden_kernels=(3, 3, 1), output_kernel=1)
    assert [tuple(p.shape) for p in net.parameters() if p.ndim == 4] == [
        (5, 3, 3, 3),
        (5, 5, 3, 3),
        (5, 5, 1, 1),
        (6, 5, 1, 1),
    ]
    assert torch.equal(net.initialize(torch.randn(4, 3, 4, 4)), torch.zeros(4, 6, 4, 4))


def test_dropout_acts_in_training_alone(perturb: Perturb) -> None:
    net, h = perturb(GlowConvNet(2, 2, width=16, dropout=0.5)), torch.randn(1, 2, 3, 3).double()
    assert not torch.equal(net(h), net(h))
    net.eval()
    assert torch.equal(net(h), net(h))
