from __future__ import annotations

import torch

from flowbench.api import Batch, ModelConfig
from flowbench_models.bijections.base import Composition
from flowbench_models.bijections.channels import ActNorm, FactorOut, Squeeze
from flowbench_models.bijections.multiscale import MultiScale, MultiScaleModel
from flowbench_models.nets.convolution import ZeroConv2d
from tests.plugins.flowbench_models.fixtures import JacobianLogAbsDet, MakeDataset, Perturb


def _two_scales() -> MultiScale:
    first = Composition([Squeeze(), ActNorm(4)])
    second = Composition([Squeeze(), ActNorm(8)])
    return MultiScale([first, second], [FactorOut(ZeroConv2d(2, 4))])


def test_all_latents_together_are_a_bijection_of_the_data(
    perturb: Perturb, jacobian_log_abs_det: JacobianLogAbsDet
) -> None:
    flow = perturb(_two_scales())
    x = torch.randn(2, 1, 4, 8, dtype=torch.float64)
    latents, ladj = flow(x)
    assert [tuple(z.shape) for z in latents] == [(2, 2, 2, 4), (2, 8, 1, 2)]
    torch.testing.assert_close(flow.inverse(latents), x)
    expected = jacobian_log_abs_det(lambda event: flow(event)[0], x)
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-5)


def test_split_without_prior_hands_out_the_second_half() -> None:
    x = torch.randn(3, 4, 2, 2)
    kept, latent, ladj = FactorOut()(x)
    assert torch.equal(kept, x[:, :2])
    assert torch.equal(latent, x[:, 2:])
    assert torch.equal(ladj, torch.zeros(3))
    assert torch.equal(FactorOut().inverse(kept, latent), x)


def test_density_of_a_split_is_that_of_its_conditional_gaussian(perturb: Perturb) -> None:
    prior = perturb(ZeroConv2d(1, 2, 1))
    x = torch.randn(5, 2, 1, 1, dtype=torch.float64)
    kept, latent, ladj = FactorOut(prior)(x)
    mean, log_std = prior(kept).chunk(2, dim=1)
    expected = torch.distributions.Normal(mean, log_std.exp()).log_prob(x[:, 1:]).flatten()
    standard = torch.distributions.Normal(0.0, 1.0).log_prob(latent).flatten()
    torch.testing.assert_close(standard + ladj, expected)


def test_initialisation_normalises_every_scale() -> None:
    flow = _two_scales()
    flow.initialize(7.0 + 3.0 * torch.randn(32, 1, 8, 8))
    assert all(bool(norm.initialized) for norm in flow.modules() if isinstance(norm, ActNorm))


def _model(dataset: MakeDataset) -> MultiScaleModel:
    model = MultiScaleModel(ModelConfig(), dataset(1, 4, 4))
    scales = [Composition([Squeeze(), ActNorm(4)]), Composition([Squeeze(), ActNorm(8)])]
    model.flow = MultiScale(scales, [FactorOut()])
    return model


def test_first_batch_initialises_every_scale_without_gradients(dataset: MakeDataset) -> None:
    model = _model(dataset)
    x = 3.0 + 2.0 * torch.randn(256, 1, 4, 4)
    model.initialize(Batch(x=x), generator=torch.Generator())
    assert all(parameter.grad is None for parameter in model.parameters())
    (first, last), _ = model.to_latent(x)
    for z in (first, last):
        std, mean = torch.std_mean(z, dim=(0, 2, 3), correction=0)
        torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-4)
        torch.testing.assert_close(std, torch.ones_like(std), rtol=0, atol=1e-4)


def test_model_is_its_flow(dataset: MakeDataset, jacobian_log_abs_det: JacobianLogAbsDet) -> None:
    model = _model(dataset)
    model.initialize(Batch(x=3.0 + 2.0 * torch.randn(64, 1, 4, 4)), generator=torch.Generator())
    model.double()
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64)
    latents, ladj = model.to_latent(x)
    torch.testing.assert_close(model.from_latent(latents), x)
    expected = jacobian_log_abs_det(lambda event: model.to_latent(event)[0], x)
    torch.testing.assert_close(ladj, expected)
