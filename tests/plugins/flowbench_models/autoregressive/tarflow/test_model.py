from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from flowbench.api import Batch, ContextInput, DatasetInfo, Step
from flowbench.errors import ConfigError
from flowbench_models.autoregressive.tarflow.config import TarFlowConfig, TarFlowSampling
from flowbench_models.autoregressive.tarflow.model import TarFlow
from tests.plugins.flowbench_models.fixtures import tensor

NUM_CLASSES = 3


def images(*shape: int, levels: int | None = 16, classes: int = NUM_CLASSES) -> DatasetInfo:
    return DatasetInfo(
        name="images",
        modality="image",
        event_shape=shape,
        levels=levels,
        num_train=8,
        num_validation=2,
        num_test=2,
        context={"label": ContextInput(shape=(), num_classes=classes)} if classes else {},
    )


def flow(shape: tuple[int, ...] = (2, 4, 6), *, perturb: float = 0.05, **values: Any) -> TarFlow:
    """A float64 flow whose read-outs are no longer zero."""
    torch.manual_seed(0)
    given = {"patch_size": 2, "width": 8, "head_dim": 4, "blocks": 3, "layers": 2, **values}
    model = TarFlow(TarFlowConfig.model_validate(given), images(*shape)).double().eval()
    with torch.no_grad():
        block: Any
        for block in model.blocks:
            block.net.read_out.weight.normal_(std=perturb)
            block.net.positions.normal_(std=0.5)
            if block.net.classes is not None:
                block.net.classes.normal_(std=0.5)
        if model.config.volume_preserving:
            model.prior_variance.uniform_(0.5, 2.0)
    return model


def data(model: TarFlow, num: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(num, *model.data.event_shape, generator=generator, dtype=torch.float64)


def draw(model: TarFlow, num: int = 4, labels: Tensor | None = None, **options: Any) -> Tensor:
    return model.sample(
        num,
        None if labels is None else {"label": labels},
        settings=TarFlowSampling(**options),
        generator=torch.Generator().manual_seed(2),
    )


KINDS: dict[str, dict[str, Any]] = {
    "autoregressive": {},
    "conditional": {"class_conditional": True},
    "volume preserving": {"volume_preserving": True},
    "coupling": {"block": "coupling"},
    "coupling, volume preserving": {"block": "coupling", "volume_preserving": True},
    "one block": {"blocks": 1},
    "two blocks": {"blocks": 2},
    "pixels": {"patch_size": 1},
}


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS))
def any_flow(request: pytest.FixtureRequest) -> TarFlow:
    return flow(**request.param)


@pytest.mark.parametrize("label", [None, 1])
def test_ladj_is_that_of_the_jacobian(any_flow: TarFlow, label: int | None) -> None:
    x = data(any_flow, 1)
    context = None if label is None else {"label": torch.tensor([label])}

    def latent(flat: Tensor) -> Tensor:
        return any_flow.to_latent(flat.view(x.shape), context)[0][0].flatten()

    jacobian = torch.autograd.functional.jacobian(latent, x.flatten())
    _, ladj = any_flow.to_latent(x, context)
    assert ladj.item() == pytest.approx(torch.linalg.slogdet(jacobian)[1].item(), abs=1e-9)


def test_data_come_back_and_noise_comes_back(any_flow: TarFlow) -> None:
    x, context = data(any_flow), {"label": torch.tensor([0, 2, 1])}
    latents, _ = any_flow.to_latent(x, context)
    torch.testing.assert_close(any_flow.from_latent(latents, context), x, rtol=0, atol=1e-10)
    z = torch.randn_like(latents[0])
    again, _ = any_flow.to_latent(any_flow.from_latent((z,), context), context)
    torch.testing.assert_close(again[0], z, rtol=0, atol=1e-10)


def test_a_fresh_float32_flow_comes_back() -> None:
    model = TarFlow(TarFlowConfig(patch_size=2, width=64), images(1, 8, 8)).eval()
    x = torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        latents, _ = model.to_latent(x)
    assert not torch.equal(latents[0].flatten(), x.flatten())  # the read-out's bias is not zero
    torch.testing.assert_close(model.from_latent(latents), x, rtol=0, atol=1e-5)


def test_latents_are_left_alone_by_the_inverse() -> None:
    model = flow()
    z = torch.randn(1, *model.latent_shapes()[0], dtype=torch.float64)
    kept = z.clone()
    model.from_latent((z,))
    assert torch.equal(z, kept)


def test_tokens_are_the_columns_of_unfold() -> None:
    model = flow((2, 4, 6))
    x = data(model)
    expected = torch.nn.functional.unfold(x, 2, stride=2).transpose(1, 2)
    assert torch.equal(model._patches(x), expected)
    assert torch.equal(model._image(expected), x)


def test_the_second_block_reads_the_tokens_backwards() -> None:
    """The first block leaves token 0 alone; the second the last one in raster order."""
    model = flow((1, 4, 4), blocks=2)
    x = data(model, 1)
    tokens = model._patches(x)
    first, _ = model.blocks[0](tokens, None)
    (z,), _ = model.to_latent(x)
    assert torch.equal(first[:, 0], tokens[:, 0])
    assert torch.equal(z[:, -1], first[:, -1])
    assert not torch.equal(z[:, 0], first[:, 0])


def test_labels_change_the_density_and_can_be_withheld() -> None:
    model = flow(class_conditional=True)
    x = data(model, 1)
    given = [tensor(model.log_prob(x, {"label": torch.tensor([k])})).item() for k in range(4)]
    assert len({round(value, 6) for value in given}) == 4
    assert tensor(model.log_prob(x)).item() == pytest.approx(given[NUM_CLASSES], abs=1e-12)
    blind = flow(class_conditional=False)
    label = {"label": torch.tensor([1])}
    assert torch.equal(tensor(blind.log_prob(x)), tensor(blind.log_prob(x, label)))


def _loss(model: TarFlow, labels: Tensor, x: Tensor | None = None) -> float:
    x = data(model, len(labels)) if x is None else x
    generator = torch.Generator().manual_seed(3)
    step = Step(progress=torch.zeros(()), phase=0, group="all", generator=generator, seed=0)
    return model.loss(Batch(x=x, context={"label": labels}), step).item()


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_loss_withholds_the_configured_part_of_labels(dropout: float) -> None:
    labels = torch.arange(64) % NUM_CLASSES
    model = flow(class_conditional=True, label_dropout=dropout)
    withheld = torch.rand(64, generator=torch.Generator().manual_seed(3)) < dropout
    assert bool(withheld.any()) == (dropout > 0)
    x = data(model, 64)
    given = tensor(model.log_prob(x, {"label": labels}))
    without = tensor(model.log_prob(x))
    expected = -torch.where(withheld, without, given).mean() / model.data.num_dims / math.log(2.0)
    assert _loss(model, labels) == pytest.approx(expected.item(), abs=1e-12)


def test_the_prior_of_a_volume_preserving_flow_follows_its_latents() -> None:
    model = flow(volume_preserving=True)
    with torch.no_grad():
        model.prior_variance.fill_(1.0)
    z = model.to_latent(data(model, 64))[0][0]
    labels = torch.zeros(64, dtype=torch.int64)
    _loss(model, labels)  # in eval mode
    assert (model.prior_variance == 1.0).all()
    _loss(model.train(), labels)
    expected = 0.9 + 0.1 * z.square().mean(dim=0)
    torch.testing.assert_close(model.prior_variance, expected)
    assert model.to_latent(data(model))[1].std() == pytest.approx(0.0, abs=1e-12)


def test_refit_makes_the_latents_of_a_volume_preserving_flow_standard() -> None:
    model = flow(volume_preserving=True)
    batches = [Batch(x=data(model, num)) for num in (3, 5)]
    model.refit(iter(batches), generator=torch.Generator())
    with torch.no_grad():
        (z,), _ = model.to_latent(torch.cat([batch.x for batch in batches]))
    torch.testing.assert_close(z.square().mean(dim=0), torch.ones_like(z[0]))


def test_refit_leaves_other_flows_alone() -> None:
    model = flow()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.refit(iter(()), generator=torch.Generator())
    torch.testing.assert_close(model.state_dict(), state, rtol=0, atol=0)


def test_the_prior_survives_a_batch_that_is_not_finite() -> None:
    model = flow(volume_preserving=True).train()
    before = model.prior_variance.clone()
    x, labels = data(model), torch.zeros(3, dtype=torch.int64)
    x[0] = math.nan
    assert math.isnan(_loss(model, labels, x))
    assert torch.equal(model.prior_variance, before)
    _loss(model, labels)
    assert not torch.equal(model.prior_variance, before)


def test_sampling_is_from_latent_of_the_noise() -> None:
    model = flow(class_conditional=True)
    labels = torch.tensor([0, 1, 2, 0])
    noise = torch.Generator().manual_seed(2)
    (z,) = model.sample_base(4, temperature=1.0, generator=noise, device=torch.device("cpu"))
    x = draw(model, labels=labels)
    torch.testing.assert_close(model.to_latent(x, {"label": labels})[0][0], z, rtol=0, atol=1e-10)


def test_guidance_of_weight_0_is_none() -> None:
    model = flow(class_conditional=True)
    labels = torch.tensor([0, 1, 2, 0])
    plain = draw(model, labels=labels)
    assert torch.equal(draw(model, labels=labels, guidance=0.0), plain)
    almost = draw(model, labels=labels, guidance=1e-9, attention_temperature=0.5)
    torch.testing.assert_close(almost, plain, rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"guidance_schedule": "linear"}])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_guided_samples_are_those_of_guided_parameters(
    options: dict[str, Any], temperature: float
) -> None:
    """Against a plain loop over whole sequences, with one block so that it stays short."""
    model = flow((1, 4, 4), class_conditional=True, blocks=1)
    labels = torch.tensor([0, 1, 2, 0])
    noise = torch.Generator().manual_seed(2)
    (x,) = model.sample_base(4, temperature=1.0, generator=noise, device=torch.device("cpu"))
    block: Any = model.blocks[0]
    net = block.net
    for i in range(1, x.shape[1]):
        guided = net(x, labels)[:, i - 1]
        with sharpened(net, temperature):
            other = net(x, None)[:, i - 1]
        strength = 1.5 * (i / (x.shape[1] - 1) if options else 1.0)
        log_scale, mean = (guided + strength * (guided - other)).chunk(2, dim=-1)
        x[:, i] = x[:, i] * log_scale.exp() + mean
    given: dict[str, Any] = {"guidance": 1.5, "attention_temperature": temperature, **options}
    torch.testing.assert_close(draw(model, labels=labels, **given), model._image(x))


class sharpened:
    """Divides the logits of attention, by way of the weights of the queries."""

    def __init__(self, net: Any, temperature: float) -> None:
        self.net, self.temperature = net, temperature

    def _scale(self, factor: float) -> None:
        with torch.no_grad():
            for layer in self.net.transformer:
                width = layer.projection.in_features
                layer.qkv.weight[:width] *= factor
                layer.qkv.bias[:width] *= factor

    def __enter__(self) -> None:
        self._scale(1.0 / self.temperature)

    def __exit__(self, *_: object) -> None:
        self._scale(self.temperature)


def test_couplings_can_be_guided_by_labels() -> None:
    model = flow(block="coupling", class_conditional=True)
    labels = torch.tensor([0, 1, 2, 0])
    guided = draw(model, labels=labels, guidance=1.0)
    assert not torch.allclose(guided, draw(model, labels=labels))


def test_guidance_without_labels_or_sharper_attention_is_refused() -> None:
    with pytest.raises(ConfigError, match="without a label needs attention_temperature"):
        draw(flow(class_conditional=True), guidance=1.0)
    sharp: dict[str, Any] = {"guidance": 1.0, "attention_temperature": 0.5}
    assert not torch.allclose(draw(flow(), **sharp), draw(flow()))


NOISE = {
    "noise": {"kind": "gaussian_noise", "sigma": 0.2},
    "bijections": [{"kind": "scale", "low": -1.0, "high": 1.0, "closed": True}],
}


@pytest.mark.parametrize("checkpoint", [False, True])
def test_denoising_adds_the_variance_times_the_score(checkpoint: bool) -> None:
    model = flow(preprocessing=NOISE)
    noisy = draw(model)
    with torch.enable_grad():
        leaf = noisy.clone().requires_grad_()
        (score,) = torch.autograd.grad(tensor(model.log_prob(leaf)).sum(), leaf)
    with torch.no_grad():
        extra: dict[str, Any] = {"checkpoint": True} if checkpoint else {}
        denoised = draw(model, denoise=True, **extra)
    torch.testing.assert_close(denoised, noisy + 0.2**2 * score)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(("checkpoint", "passes"), [(False, 2), (True, 3)])
def test_denoising_costs_no_gradients_of_weights(checkpoint: bool, passes: int) -> None:
    """Products of a pass forward, one back to the data, one more if recomputed, up to its last."""
    model = flow((1, 4, 4), preprocessing=NOISE, blocks=1, layers=1, width=64).float()
    weights = [p for name, p in model.named_parameters() if "transformer" in name and p.dim() == 2]
    num_tokens = model.latent_shapes()[0][0] - 1
    forward = 2 * num_tokens * sum(weight.numel() for weight in weights)
    extra: dict[str, Any] = {"checkpoint": True} if checkpoint else {}
    counts = []
    options: dict[str, Any]
    for options in ({}, {"denoise": True, **extra}):
        with FlopCounterMode(display=False) as counter:
            draw(model, 1, **options)
        counts.append(counter.get_total_flops())
    assert passes - 0.5 < (counts[1] - counts[0]) / forward < passes + 0.5


def test_checkpointing_leaves_values_and_gradients() -> None:
    gradients = []
    for checkpointing in (False, True):
        model = flow(checkpointing=checkpointing)
        tensor(model.log_prob(data(model))).sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_bfloat16_training_keeps_float32_latents() -> None:
    model = flow().float()
    x = data(model).float()
    exact = model.to_latent(x)[0][0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (z,), ladj = model.to_latent(x)
    assert z.dtype == ladj.dtype == torch.float32
    torch.testing.assert_close(z, exact, rtol=0.1, atol=0.1)


def test_progress_is_told() -> None:
    from flowbench.api.progress import progress_to

    parts: list[float] = []
    with progress_to(parts.append):
        draw(flow())
    assert parts == sorted(parts)
    assert parts[-1] == 1.0


def test_samples_by_sweeps_are_those_made_token_by_token() -> None:
    model = flow(blocks=2, layers=(1, 2), scale="softplus", soft_clip=4.0)

    def drawn(**options: Any) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        settings = TarFlowSampling(**options)
        return tensor(model.sample(3, settings=settings, generator=generator))

    cached = drawn()
    assert model.sweeps == (0, 0)
    swept = drawn(sampler="jacobi", sweep_tolerance=0.0, segments=2)
    torch.testing.assert_close(swept, cached)
    num_moved = 2 * 3 - 1  # of 4x6 images in patches of two
    assert all(0 < sweeps <= num_moved for sweeps in model.sweeps)
