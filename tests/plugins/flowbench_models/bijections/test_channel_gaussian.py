from __future__ import annotations

import torch

from flowbench_models.bijections.channel_gaussian import ChannelGaussian


def test_is_a_bijection(perturb, assert_is_bijection) -> None:
    assert_is_bijection(perturb(ChannelGaussian(3)), torch.randn(2, 3, 2, 2, dtype=torch.float64))


def test_density_is_the_gaussians(perturb) -> None:
    layer = perturb(ChannelGaussian(2))
    x = torch.randn(3, 2, 2, 2, dtype=torch.float64)
    z, ladj = layer(x)
    mean, std = layer.mean.view(1, -1, 1, 1), layer.log_std.exp().view(1, -1, 1, 1)
    expected = torch.distributions.Normal(mean, std).log_prob(x).sum(dim=(1, 2, 3))
    standard = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(dim=(1, 2, 3))
    torch.testing.assert_close(standard + ladj, expected)
