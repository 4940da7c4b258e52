from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from flowbench.api import Batch, Likelihood, Step
from flowbench.errors import ConfigError, NotInvertibleError
from flowbench_models.bijections.channels import Squeeze
from flowbench_models.residual.block import ResidualBlock
from flowbench_models.residual.config import (
    IDenseNetConfig,
    IResNetConfig,
    ResidualFlowConfig,
)
from flowbench_models.residual.lipschitz import SpectralLayer
from flowbench_models.residual.model import (
    FlooredActNorm,
    IDenseNet,
    IResNet,
    ResidualFlow,
    WeightedConcatenation,
)
from tests.plugins.flowbench_models.fixtures import JacobianLogAbsDet, MakeDataset, tensor


class Kind(NamedTuple):
    model: type[ResidualFlow]
    config: type[ResidualFlowConfig]


KINDS = {
    "residual-flow": Kind(ResidualFlow, ResidualFlowConfig),
    "iresnet": Kind(IResNet, IResNetConfig),
    "idensenet": Kind(IDenseNet, IDenseNetConfig),
}
COUNTS = {
    ("residual-flow", "cifar10"): ((3, 32, 32), 25_174_233),
    ("residual-flow", "mnist"): ((1, 28, 28), 16_608_693),
    ("residual-flow", "imagenet32"): ((3, 32, 32), 47_099_289),
    ("residual-flow", "imagenet64"): ((3, 64, 64), 53_294_475),
    ("residual-flow", "celebahq256"): ((3, 256, 256), 136_777_368),
    ("residual-flow", "small"): ((3, 32, 32), 8_730_441),
    ("iresnet", "cifar10"): ((3, 32, 32), 16_621_018),
    ("idensenet", "cifar10"): ((3, 32, 32), 24_894_690),
    ("idensenet", "imagenet32"): ((3, 32, 32), 46_981_074),
    ("idensenet", "small-2"): ((3, 32, 32), 8_763_510),
    ("idensenet", "small-3"): ((3, 32, 32), 8_695_158),
    ("idensenet", "small-4"): ((3, 32, 32), 8_724_302),
    ("idensenet", "small-5"): ((3, 32, 32), 8_839_086),
}
TINY: dict[str, Any] = {"blocks": (1, 1), "width": 6, "dense_blocks": 1, "dense_width": 5}
SHAPES = {"exact": (2, 2, 4), "estimated": (2, 4, 4)}


@pytest.mark.parametrize(
    ("kind", "preset"),
    [
        # Of hundreds of blocks, even without memory.
        pytest.param(*key, marks=[pytest.mark.slow] if count > 40_000_000 else [])
        for key, (_, count) in COUNTS.items()
    ],
)
def test_paper_presets_have_the_counts_of_the_released_code(
    kind: str, preset: str, dataset: MakeDataset
) -> None:
    shape, count = COUNTS[kind, preset]
    model, config = KINDS[kind]
    with torch.device("meta"):
        found = model(
            config.model_validate(config.presets[preset].values), dataset(*shape, levels=256)
        )
    assert found.num_parameters() == count
    assert f"{count:,}" in config.presets[preset].summary
    made = sum(p.numel() for p in found.parameters())
    assert f"{count - made} of which" in config.presets[preset].summary


def _presets() -> Iterator[Any]:
    for name, kind in KINDS.items():
        for preset in kind.config.presets:
            yield pytest.param(kind.config, preset, id=f"{name}:{preset}")


@pytest.mark.parametrize(("config", "preset"), [*_presets()])
def test_every_preset_is_a_valid_configuration(
    config: type[ResidualFlowConfig], preset: str
) -> None:
    config.model_validate(config.presets[preset].values)


def _made(
    kind: str, dataset: MakeDataset, shape: tuple[int, ...], **changes: Any
) -> tuple[ResidualFlow, Tensor]:
    """A model in float64 whose weights are at their bounds, and examples."""
    model, config = KINDS[kind]
    torch.manual_seed(3)
    flow = model(config.model_validate({**TINY, **changes}), dataset(*shape)).double()
    for module in flow.modules():
        if isinstance(module, SpectralLayer):
            module.weight.data *= 4.0
    x = 2.0 * torch.randn(16, *shape, dtype=torch.float64)
    flow.initialize(Batch(x=x), generator=torch.Generator())
    flow.refit([], generator=torch.Generator())
    return flow.eval(), x[:3]


LAYOUTS: dict[str, dict[str, Any]] = {
    "two scales": {},
    "squeezed first": {"squeeze_first": True, "blocks": (1,)},
    "last half leaves": {"factor_out": "last"},
    "first half leaves": {"factor_out": "first", "learned_prior": True, "norms": "before"},
    "flat": {"blocks": ()},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_latents_and_data_map_to_each_other_with_the_jacobians_ladj(
    kind: str, layout: str, dataset: MakeDataset, jacobian_log_abs_det: JacobianLogAbsDet
) -> None:
    model, x = _made(kind, dataset, SHAPES["exact"], **LAYOUTS[layout])
    latents, ladj = model.to_latent(x)
    torch.testing.assert_close(model.from_latent(latents), x, rtol=0, atol=1e-7)
    expected = jacobian_log_abs_det(lambda event: model.to_latent(event)[0], x[:1])
    torch.testing.assert_close(ladj[:1], expected, rtol=0, atol=1e-8)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_mean_of_draws_above_16_dims_is_the_exact_density(
    kind: str, dataset: MakeDataset, jacobian_log_abs_det: JacobianLogAbsDet
) -> None:
    model, x = _made(kind, dataset, SHAPES["estimated"])
    latents, _ = model.to_latent(x[:1])
    exact = model.base_log_prob(latents) + jacobian_log_abs_det(
        lambda event: model.to_latent(event)[0], x[:1]
    )
    with torch.no_grad():
        draws = torch.stack(
            [
                # Rows have a series of one length, so that only passes are independent.
                model.log_prob(x[:1].expand(10, -1, -1, -1), generator=_generator(seed)).mean()
                for seed in range(200)
            ]
        )
    error = abs(float(draws.mean() - exact.detach()))
    assert error < 5 * float(draws.std()) / len(draws) ** 0.5


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_one_draw_has_noise_of_its_own_and_follows_its_seed(dataset: MakeDataset) -> None:
    model, x = _made("residual-flow", dataset, SHAPES["estimated"])
    one, again, other = (model.log_prob(x, generator=_generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    # Without a source of noise a draw is always the same.
    assert torch.equal(model.to_latent(x)[1], model.to_latent(x)[1])


def test_lengths_of_series_follow_the_steps_seed(dataset: MakeDataset) -> None:
    model, _ = _made("residual-flow", dataset, SHAPES["estimated"])
    model.train()
    lengths = [[len(series) for series in model._series(seed)] for seed in range(200)]
    assert lengths[0] == [len(series) for series in model._series(0)]
    mean = torch.tensor(lengths, dtype=torch.float64).mean()
    assert 2 + 1.8 < float(mean) < 2 + 2.2  # two terms, and Poisson's
    model.eval()
    assert min(len(series) for series in model._series(0)) >= 10


def test_iresnet_trains_with_five_terms_and_is_evaluated_without_bias(
    dataset: MakeDataset,
) -> None:
    model, _ = _made("iresnet", dataset, SHAPES["estimated"])
    assert {len(series) for series in model.eval()._series(0)} != {5}
    assert model.train()._series(0) == [[1.0] * 5] * 3


def _steps(model: ResidualFlow, x: Tensor, num_steps: int, lr: float) -> list[float]:
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    model.train()
    losses = []
    for index in range(num_steps):
        step = Step(
            progress=torch.tensor(index / num_steps),
            phase=0,
            group="all",
            generator=_generator(index),
            seed=index,
        )
        optimizer.zero_grad()
        loss = tensor(model.loss(Batch(x=x), step))
        loss.backward()
        optimizer.step()
        model.after_step(step)
        losses.append(float(loss.detach()))
    return losses


def _lipschitz(layer: SpectralLayer) -> float:
    basis = torch.eye(layer.v.numel(), dtype=layer.v.dtype).view(-1, *layer.v.shape[1:])
    columns = layer.apply_weight(layer.bounded_weight(), basis).flatten(1)
    return float(torch.linalg.matrix_norm(columns, 2).detach())


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_lipschitz_constants_stay_below_their_bound_in_training(
    kind: str, dataset: MakeDataset
) -> None:
    model, _ = _made(kind, dataset, SHAPES["estimated"])
    # Far from normal, so that the flow is driven against its bounds.
    x = torch.sign(torch.randn(32, *SHAPES["estimated"], dtype=torch.float64))
    x = x + 0.01 * torch.randn_like(x)
    losses = _steps(model, x, 300, lr=1e-2)
    assert sum(losses[-20:]) / 20 < losses[0]
    layers = [module for module in model.modules() if isinstance(module, SpectralLayer)]
    found = [_lipschitz(layer) / layer.coefficient for layer in layers]
    assert max(found) > 0.99  # some are at their bound
    # Twenty iterations lag behind steps ten times a paper's; before use they settle, as below.
    assert max(found) < 1.03
    model.refit([], generator=torch.Generator())
    # Two directions of nearly equal length settle slowly; 0.98 times this is a contraction yet.
    assert max(_lipschitz(layer) / layer.coefficient for layer in layers) < 1.02
    model.eval()
    torch.testing.assert_close(model.from_latent(model.to_latent(x)[0]), x, rtol=0, atol=1e-7)


def test_weights_beyond_their_bounds_have_no_inverse_and_it_says_so(dataset: MakeDataset) -> None:
    model, x = _made("residual-flow", dataset, SHAPES["exact"])
    latents, _ = model.to_latent(x)
    for module in model.modules():
        if isinstance(module, SpectralLayer):
            module.coefficient = 3.0
            module.weight.data *= 30.0
    with pytest.raises(NotInvertibleError, match="fixed-point inverse"):
        model.from_latent(latents)


def test_concatenations_weigh_alike_until_they_are_learned(dataset: MakeDataset) -> None:
    model, _ = _made("idensenet", dataset, SHAPES["exact"], concatenation_from=0.5)
    (layer, *_) = [m for m in model.modules() if isinstance(m, WeightedConcatenation)]
    with torch.no_grad():
        layer.raw.copy_(torch.tensor([2.0, -1.0]))
    for progress, expected in ((0.6, [2.0, -1.0]), (0.4, [1.0, 1.0])):
        model.after_step(
            Step(progress=torch.tensor(progress), phase=0, group="all", generator=None, seed=0)
        )
        assert layer.raw.tolist() == expected


def test_a_concatenation_is_as_long_as_its_parts_at_most() -> None:
    layer = WeightedConcatenation(torch.nn.Identity(), 0.98).double()
    with torch.no_grad():
        layer.raw.copy_(torch.tensor([3.0, -2.0]))
    h = torch.randn(5, 4, dtype=torch.float64)
    lengths = torch.linalg.vector_norm(layer(h), dim=1) / torch.linalg.vector_norm(h, dim=1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, 0.98))


def test_the_first_image_block_alone_has_no_activation_before_its_network(
    dataset: MakeDataset,
) -> None:
    model, _ = _made("residual-flow", dataset, SHAPES["exact"], blocks=(2, 2))
    blocks = [module for module in model.modules() if isinstance(module, ResidualBlock)]
    first = [isinstance(next(iter(block.net.children())), SpectralLayer) for block in blocks]
    assert first == [True, False, False, False, False]


def test_squeezes_lie_between_scales_and_norms_around_blocks(dataset: MakeDataset) -> None:
    model, _ = _made("residual-flow", dataset, SHAPES["exact"])
    kinds = [[type(part) for part in scale.parts()] for scale in model._scales()]
    assert kinds == [
        [FlooredActNorm, ResidualBlock, FlooredActNorm, Squeeze],
        [ResidualBlock, FlooredActNorm],
    ]


def test_a_norms_first_batch_has_a_floor_of_variance() -> None:
    norm = FlooredActNorm(2, 0.25)
    x = torch.tensor([[1.0, 10.0], [1.2, 14.0]])
    z = norm.initialize(x)
    torch.testing.assert_close(z[:, 0], torch.tensor([-0.2, 0.2]))
    torch.testing.assert_close(z[:, 1].std(), torch.tensor(1.0))


def test_likelihoods_are_exact_up_to_16_dims_and_estimated_above(dataset: MakeDataset) -> None:
    config = ResidualFlowConfig()
    assert config.likelihood(dataset(16, levels=None)) == Likelihood(measure="continuous")
    above = config.likelihood(dataset(17, levels=None))
    assert above == Likelihood(measure="continuous", noise="estimates")
    image = config.likelihood(dataset(1, 8, 8))
    assert image == Likelihood(
        measure="discrete", dequantization="uniform", noise="estimates", bound=True
    )
    assert config.likelihood(dataset(1, 4, 4)) == image.model_copy(update={"noise": "weights"})


def test_it_builds_on_the_meta_device_and_says_why_its_loss_is_no_graph() -> None:
    assert not ResidualFlowConfig.full_graph
    assert "random length" in ResidualFlowConfig.full_graph_reason


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (2,), (30,)], ids=str)
def test_default_preset_runs_on_images_and_vectors(
    kind: str, shape: tuple[int, ...], dataset: MakeDataset
) -> None:
    config = KINDS[kind].config
    data = dataset(*shape, levels=256 if len(shape) == 3 else None)
    preset = config.presets[config.default_preset(data)]
    assert config.model_validate(preset.values).unsupported(data) is None


@pytest.mark.parametrize("blocks", [(0,), (-1, 2)], ids=str)
def test_scales_have_blocks(blocks: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"blocks\.0"):
        ResidualFlowConfig(blocks=blocks)


@pytest.mark.parametrize("shape", [(2,), (3, 7, 7)], ids=str)
def test_what_does_not_fit_is_refused_with_a_reason(
    shape: tuple[int, ...], dataset: MakeDataset
) -> None:
    with pytest.raises(ConfigError, match="a residual flow of 2 scales"):
        ResidualFlow(ResidualFlowConfig(), dataset(*shape))
