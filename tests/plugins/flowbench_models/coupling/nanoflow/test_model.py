from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from flowbench.api import Batch, SamplingOptions
from flowbench.errors import ConfigError
from flowbench_models.bijections.base import Composition
from flowbench_models.bijections.channels import ActNorm
from flowbench_models.coupling.glow.model import TopPrior
from flowbench_models.coupling.nanoflow.config import NanoFlowConfig
from flowbench_models.coupling.nanoflow.model import (
    FlowIndication,
    NanoFlow,
    NanoFlowSteps,
    SharedEstimator,
    fold_projections,
)
from flowbench_models.nets.convolution import ZeroConv2d
from tests.plugins.flowbench_models.fixtures import (
    AssertBoundTightens,
    JacobianLogAbsDet,
    MakeDataset,
    Perturb,
    TrainOn,
    tensor,
)

VARIANTS: dict[str, dict[str, Any]] = {
    "nanoflow": {"embedding": 1},
    "wide-embedding": {"embedding": 2, "gate_rows": 4},
    "decomp": {"embedding": 0},
    "naive": {"embedding": 0, "shared_projection": True},
}


def _preset(name: str) -> NanoFlowConfig:
    return NanoFlowConfig.model_validate(NanoFlowConfig.presets[name].values)


def _config(**changes: Any) -> NanoFlowConfig:
    return NanoFlowConfig.model_validate({"levels": 2, "steps": 2, "width": 3, **changes})


def _steps(model: NanoFlow, level: int) -> NanoFlowSteps:
    scale = model.flow.scales[level]
    assert isinstance(scale, Composition)
    steps = scale.bijections[1]
    assert isinstance(steps, NanoFlowSteps)
    return steps


@pytest.mark.parametrize(
    ("preset", "count"),
    [  # NanoFlow (arXiv 2006.06280), tables 4 and 6
        ("naive", 9_263_064),
        pytest.param("decomp", 9_934_896, marks=pytest.mark.slow),
        pytest.param("k32", 10_113_264, marks=pytest.mark.slow),
        pytest.param("k48", 10_718_544, marks=pytest.mark.slow),
        ("alt-naive", 778_200),
        pytest.param("alt-decomp", 6_783_024, marks=pytest.mark.slow),
        ("alt", 6_961_392),
        pytest.param("alt-k48", 10_319_184, marks=pytest.mark.slow),
    ],
)
def test_paper_presets_have_the_papers_parameter_counts(
    preset: str, count: int, dataset: MakeDataset
) -> None:
    with torch.device("meta"):
        model = NanoFlow(_preset(preset), dataset(3, 32, 32, levels=256))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == count


def test_parts_of_the_paper_model_have_their_counts(dataset: MakeDataset) -> None:
    with torch.device("meta"):
        model = NanoFlow(_preset("k32"), dataset(3, 32, 32, levels=256))
    scales = [_steps(model, level) for level in range(3)]

    def count(*modules: torch.nn.Module) -> int:
        return sum(p.numel() for module in modules for p in module.parameters())

    indications: list[Any] = [i for scale in scales for i in scale.indications]
    assert count(*(scale.estimator for scale in scales)) == 8_969_472
    assert count(*(scale.projections for scale in scales)) == 693_504
    assert sum(i.gates.numel() for i in indications) == 147_456
    assert sum(i.embedding.numel() for i in indications) == 14_336
    assert count(*(i.norm for i in indications)) == 448
    assert count(*(scale.norms for scale in scales)) == 5_376
    assert count(*(scale.mixings for scale in scales)) == 196_224


@pytest.fixture(params=list(VARIANTS.values()), ids=list(VARIANTS))
def tiny(request: pytest.FixtureRequest, dataset: MakeDataset, perturb: Perturb) -> NanoFlow:
    return perturb(NanoFlow(_config(**request.param), dataset(1, 4, 8)))


def test_latents_and_data_map_to_each_other(tiny: NanoFlow) -> None:
    for dtype, tolerance in ((torch.float64, 1e-6), (torch.float32, 1e-4)):
        x = torch.randn(3, 1, 4, 8, dtype=dtype)
        latents, _ = tiny.to(dtype).to_latent(x)
        assert tuple(z.shape[1:] for z in latents) == tiny.latent_shapes()
        torch.testing.assert_close(tiny.from_latent(latents), x, rtol=tolerance, atol=tolerance)


def test_ladj_is_that_of_the_joint_map_to_all_latents(
    tiny: NanoFlow, jacobian_log_abs_det: JacobianLogAbsDet
) -> None:
    x = torch.randn(2, 1, 4, 8, dtype=torch.float64)
    _, ladj = tiny.to_latent(x)
    expected = jacobian_log_abs_det(lambda event: tiny.to_latent(event)[0], x)
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-6)


def test_encoding_a_sample_gives_back_its_noise(tiny: NanoFlow) -> None:
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


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("num_steps", [100, 400])
def test_training_keeps_the_inverse(
    num_steps: int, dataset: MakeDataset, train_on: TrainOn
) -> None:
    model = NanoFlow(_config(), dataset(1, 4, 8))
    x = torch.rand(32, 1, 4, 8) - 0.5
    train_on(model, x, num_steps)
    model.eval()
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-6)):
        latents, _ = model.to(dtype).to_latent(x.to(dtype))
        torch.testing.assert_close(
            model.from_latent(latents), x.to(dtype), rtol=tolerance, atol=tolerance
        )


def test_bound_does_not_decrease_in_the_number_of_draws(
    tiny: NanoFlow, assert_bound_tightens: AssertBoundTightens
) -> None:
    assert_bound_tightens(tiny, torch.randint(0, 17, (6, 1, 4, 8)))


def test_steps_of_a_scale_share_one_estimator_but_differ_by_their_indication(
    dataset: MakeDataset, perturb: Perturb
) -> None:
    model = perturb(NanoFlow(_config(levels=1), dataset(1, 4, 4)))
    steps = _steps(model, 0)
    assert len(steps.indications) == len(steps.projections) == 2
    h = torch.randn(2, 2, 2, 2, dtype=torch.float64)
    first, second = (steps._run(network, h) for network in steps._networks())
    with torch.no_grad():  # the second step is told to be the first
        steps.indications[1].load_state_dict(steps.indications[0].state_dict())
        steps.projections[1].load_state_dict(steps.projections[0].state_dict())
    again, same = (steps._run(network, h) for network in steps._networks())
    assert not torch.allclose(first, second)
    torch.testing.assert_close(again, first)
    torch.testing.assert_close(same, first)


def test_embeddings_grow_with_the_scale_and_start_as_noise(dataset: MakeDataset) -> None:
    model = NanoFlow(_config(embedding=3), dataset(1, 16, 16))
    for level, size in enumerate((8, 4)):
        for indication in _steps(model, level).indications:
            assert isinstance(indication, FlowIndication)
            assert indication.embedding.shape == (1, 3 * 2**level, size, size)
            assert not indication.gates.any()
            assert indication.embedding.std() > 0.5


def test_first_step_initialises_the_shared_actnorms(dataset: MakeDataset) -> None:
    model = NanoFlow(_config(levels=1, steps=3, width=8), dataset(1, 8, 8))
    steps = _steps(model, 0)
    seen: list[torch.Tensor] = []
    layer = steps.estimator.conv_layers()[0]
    hook = layer.norm.register_forward_hook(lambda _, __, out: seen.append(out[0]))
    model.initialize(
        Batch(x=5.0 + 2.0 * torch.randn(64, 1, 8, 8)),
        generator=torch.Generator(),
    )
    hook.remove()
    std, mean = torch.std_mean(seen[0], dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(mean, torch.zeros(8), rtol=0, atol=1e-3)
    torch.testing.assert_close(std, torch.ones(8), rtol=0, atol=1e-3)
    later, _ = torch.std_mean(seen[1], dim=(0, 2, 3), correction=0)
    assert not torch.allclose(later, torch.ones(8), rtol=0, atol=1e-3)
    assert all(m.initialized for m in model.modules() if isinstance(m, ActNorm))


def test_first_batch_leaves_every_step_normalised(dataset: MakeDataset) -> None:
    model = NanoFlow(_config(steps=3, width=8), dataset(1, 8, 8))
    seen: list[torch.Tensor] = []
    norms = [norm for level in range(2) for norm in _steps(model, level).norms]
    hooks = [norm.register_forward_hook(lambda _, __, out: seen.append(out[0])) for norm in norms]
    model.initialize(
        Batch(x=5.0 + 2.0 * torch.randn(64, 1, 8, 8)),
        generator=torch.Generator(),
    )
    for hook in hooks:
        hook.remove()
    assert len(seen) == len(norms)
    for z in seen:
        std, mean = torch.std_mean(z, dim=(0, 2, 3), correction=0)
        torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-3)
        torch.testing.assert_close(std, torch.ones_like(std), rtol=0, atol=1e-3)


def test_gradients_reach_all_but_the_weights_of_the_top_prior(tiny: NanoFlow) -> None:
    tensor(tiny.log_prob(torch.randn(4, 1, 4, 8, dtype=torch.float64))).mean().backward()
    dead = {name for name, p in tiny.named_parameters() if p.grad is None or not p.grad.abs().sum()}
    top = [name for name, m in tiny.named_modules() if isinstance(m, TopPrior)]
    assert dead == {f"{top[0]}.net.weight"}


def test_gates_without_a_layer_have_no_effect(dataset: MakeDataset, perturb: Perturb) -> None:
    model = perturb(NanoFlow(_config(gate_rows=6), dataset(1, 4, 8)))
    tensor(model.log_prob(torch.randn(4, 1, 4, 8, dtype=torch.float64))).sum().backward()
    indication: Any
    for indication in _steps(model, 0).indications:
        assert indication.gates.grad[:2].abs().sum() > 0
        assert not indication.gates.grad[2:].any()


def test_temperature_scales_the_noise(dataset: MakeDataset) -> None:
    model = NanoFlow(_config(), dataset(1, 4, 4))  # fresh couplings and priors are linear
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


def test_bfloat16_networks_leave_the_flow_in_float32(dataset: MakeDataset) -> None:
    model = NanoFlow(_config(), dataset(1, 4, 4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        latents, ladj = model.to_latent(torch.randn(4, 1, 4, 4))
    assert {z.dtype for z in latents} == {ladj.dtype} == {torch.float32}


@pytest.mark.parametrize(("shape", "reason"), [((2,), "images"), ((3, 12, 16), "divisible by 8")])
def test_what_does_not_fit_is_refused_with_a_reason(
    shape: tuple[int, ...], reason: str, dataset: MakeDataset
) -> None:
    with pytest.raises(ConfigError, match=reason):
        NanoFlow(NanoFlowConfig(), dataset(*shape))


def _estimator(perturb: Perturb) -> tuple[SharedEstimator, list[FlowIndication]]:
    estimator = SharedEstimator(3, width=4, hidden_kernels=(3, 1, 3))
    indications = [FlowIndication((2, 4, 4), gate_rows=3, width=4) for _ in range(2)]
    perturb(torch.nn.ModuleList([estimator, *indications]))
    return estimator, indications


def test_folded_network_equals_convolution_norm_gate_relu(perturb: Perturb) -> None:
    estimator, indications = _estimator(perturb)
    h = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    for kernels, indication in zip(estimator.fold(indications, 2), indications, strict=True):
        expected = h
        for layer, gate in zip(estimator.conv_layers(), indication.gates, strict=True):
            padding = layer.weight.shape[-1] // 2
            normalised, _ = layer.norm(F.conv2d(expected, layer.weight, padding=padding))
            expected = F.relu(gate.exp().view(1, -1, 1, 1) * normalised)
        torch.testing.assert_close(estimator(kernels, h), expected)


def test_without_indications_all_steps_share_their_kernels() -> None:
    estimator = SharedEstimator(3, width=4, hidden_kernels=(3, 1))
    first, second = estimator.fold([], 2)
    assert first is second


def test_fresh_gates_are_open(perturb: Perturb) -> None:
    estimator = SharedEstimator(3, width=4, hidden_kernels=(3, 1))
    indication = FlowIndication((2, 4, 4), gate_rows=6, width=4)
    (gated,) = estimator.fold([indication], 1)
    (plain,) = estimator.fold([], 1)
    torch.testing.assert_close(gated, plain)


def test_embedding_is_normalised_over_positions() -> None:
    indication = FlowIndication((2, 8, 8), gate_rows=1, width=1)
    with torch.no_grad():
        indication.embedding.mul_(5.0).add_(3.0)
    indication.initialize()
    assert isinstance(indication.norm, ActNorm)
    (image,) = FlowIndication.embeddings([indication])
    std, mean = torch.std_mean(image, dim=(1, 2), correction=0)
    torch.testing.assert_close(mean, torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(std, torch.ones(2), rtol=0, atol=1e-4)


def test_embedding_of_a_single_position_is_left_alone() -> None:
    indication = FlowIndication((2, 1, 1), gate_rows=1, width=1)
    indication.initialize()
    torch.testing.assert_close(FlowIndication.embeddings([indication]), indication.embedding)
    assert not indication.norm.log_scale.any()


def test_only_the_first_step_initialises_the_shared_norms() -> None:
    estimator = SharedEstimator(3, width=4, hidden_kernels=(3, 1))
    first, second = torch.randn(2, 3, 4, 4), 9.0 + torch.randn(2, 3, 4, 4)
    estimator.initialize(first, None)
    state = {key: value.clone() for key, value in estimator.state_dict().items()}
    h = estimator.initialize(second, None)
    torch.testing.assert_close(estimator.state_dict(), state)
    (kernels,) = estimator.fold([], 1)
    torch.testing.assert_close(h, estimator(kernels, second))


def test_initialising_runs_through_the_gates(perturb: Perturb) -> None:
    estimator, indications = _estimator(perturb)
    h = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    out = estimator.initialize(h, indications[0])
    torch.testing.assert_close(out, estimator(estimator.fold(indications, 2)[0], h))


def test_shared_projection_is_folded_once(perturb: Perturb) -> None:
    projection, other = ZeroConv2d(2, 3, 1), ZeroConv2d(2, 3, 1)
    perturb(torch.nn.ModuleList([projection, other]))
    first, second = fold_projections([projection, projection])
    assert first[0] is second[0]
    separate = fold_projections([projection, other])
    torch.testing.assert_close(separate[0], first)
    torch.testing.assert_close(separate[1], ZeroConv2d.fold([other])[0])


def test_dropout_acts_in_training_alone(perturb: Perturb) -> None:
    estimator = perturb(SharedEstimator(3, width=8, hidden_kernels=(3, 1), dropout=0.5))
    (kernels,) = estimator.fold([], 1)
    h = torch.randn(4, 3, 4, 4, dtype=torch.float64)
    assert not torch.equal(estimator(kernels, h), estimator(kernels, h))
    estimator.eval()
    assert torch.equal(estimator(kernels, h), estimator(kernels, h))
