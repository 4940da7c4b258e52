from __future__ import annotations

import torch

from flowbench.api import Batch, ModelConfig
from flowbench_models.bijections import ActNorm, Composition, FactorOut, MultiScale, Squeeze
from flowbench_models.multiscale_model import MultiScaleModel


def _model(dataset) -> MultiScaleModel:
    model = MultiScaleModel(ModelConfig(), dataset(1, 4, 4))
    scales = [Composition([Squeeze(), ActNorm(4)]), Composition([Squeeze(), ActNorm(8)])]
    model.flow = MultiScale(scales, [FactorOut()])
    return model


def test_first_batch_initialises_every_scale_without_gradients(dataset) -> None:
    model = _model(dataset)
    x = 3.0 + 2.0 * torch.randn(256, 1, 4, 4)
    model.initialize(Batch(x=x), generator=torch.Generator())
    assert all(parameter.grad is None for parameter in model.parameters())
    (first, last), _ = model.to_latent(x)
    for z in (first, last):
        std, mean = torch.std_mean(z, dim=(0, 2, 3), correction=0)
        torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-4)
        torch.testing.assert_close(std, torch.ones_like(std), rtol=0, atol=1e-4)


def test_model_is_its_flow(dataset, jacobian_log_abs_det) -> None:
    model = _model(dataset)
    model.initialize(Batch(x=3.0 + 2.0 * torch.randn(64, 1, 4, 4)), generator=torch.Generator())
    model.double()
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64)
    latents, ladj = model.to_latent(x)
    torch.testing.assert_close(model.from_latent(latents), x)
    expected = jacobian_log_abs_det(lambda event: model.to_latent(event)[0], x)
    torch.testing.assert_close(ladj, expected)
