"""What VDM, DDPM++ and EDM share: noise that comes in without steps, and a bound as an integral."""

from __future__ import annotations

from typing import cast

import torch
from flowbench.api import Context
from torch import Tensor

from flowbench_families.diffusion.decoders import nearby_log_prob
from flowbench_families.diffusion.denoising import DiffusionModel, beside, evenly, normal

PAPER_LEVELS = 256


class ContinuousModel(DiffusionModel):
    r"""Base of models that take noise away continuously, from a largest spread to a smallest one.

    With :math:`\gamma = \log s^2` from :math:`\gamma_0` to :math:`\gamma_1`, and
    :math:`\hat\epsilon = (y - D(y)) / s`:

    .. math:: -\log p(x) \le D_{KL}\big(q(y_1 | x) \,\|\, p(y_1)\big)
        + \frac12 \int_{\gamma_0}^{\gamma_1} E \| \epsilon - \hat\epsilon \|^2 d\gamma
        - E \log p(x | y_0)

    A level's probability at the end goes by how near it lies. A draw takes the integrand at one
    place, all equally likely: the mean of many draws is the bound. Places are spreads.

    References:
        Kingma et al. (2021), Variational Diffusion Models, https://arxiv.org/abs/2107.00630,
        eq. 11 to 17.
    """

    def ends(self) -> tuple[Tensor, Tensor]:
        r"""The smallest and the largest :math:`\gamma`, of shape () each."""
        raise NotImplementedError

    def smallest(self, spread: float) -> float:
        """The smallest spread, given that of papers.

        Theirs is for 256 levels: fewer ones lie farther apart, and are told under more noise.
        """
        return spread * max(PAPER_LEVELS / cast(int, self.data.levels), 1.0)

    def spread(self, place: float) -> float:
        """Places are spreads."""
        return place

    def bound(self, levels: Tensor, generator: torch.Generator | None) -> Tensor:
        """One estimate of the bound for each image, (B,), in nats.

        Args:
            levels: Integers, shape (B, C, H, W).
            generator: Source of all noise.
        """
        x, (low, high) = self.values(levels), self.ends()
        place = low + (high - low) * evenly(x, generator)
        spread = (0.5 * place).exp()
        noise = normal(x, generator)
        y = x + beside(spread) * noise
        found, _ = self.denoise(y, spread)
        error = ((y - found) / beside(spread) - noise).square().sum(dim=(1, 2, 3))
        end = (0.5 * low).exp()
        near = x + end * normal(x, generator)
        values = self.values(torch.arange(cast(int, self.data.levels), device=x.device))
        decoded = nearby_log_prob(levels, near, values, end).sum(dim=(1, 2, 3))
        prior = self.prior_divergence(x, (0.5 * high).exp())
        return prior + 0.5 * (high - low) * error - decoded

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """One estimate of the bound, for each image of levels; see `DensityModel.log_prob`."""
        del context
        return -self.bound(x, generator)
