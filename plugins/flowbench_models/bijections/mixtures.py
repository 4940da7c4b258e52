"""The mixture of logistics, an elementwise law."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench_models.bijections.base import ElementwiseMap

LOWEST_LOG_SCALE = -7.0
"""Of a component, against infinite densities; released code of Flow++."""

SPARE_BITS = 8
"""How much finer the inverse's last bracket is than the first one rounded."""


class MixtureOfLogistics(ElementwiseMap):
    r"""CDF of a mixture of K logistics, its logit, then an affine map.

    .. math:: z = e^{s} (\mathrm{logit}(F(x)) + t), \qquad
              F(x) = \sum_k \pi_k \sigma(e^{-a_k} (x - \mu_k)), \qquad s = \tanh(\hat s)

    The inverse halves a bracket that surely holds x, from the least to the largest x at which a
    single component has the value sought, for as long as float numbers tell both ends apart and 8
    times more: to a part of 2^-32 of its width in float32, and of 2^-61 in float64. Where brackets
    are below 4000 that is closer than 1e-6.

    Args:
        num_components: Number K.
        rescale: Number of channels C, where each has a learned factor on s (mAR-SCF); None for
            none. The factor has a direction and a magnitude, as if weight-normalised.

    Example:
        >>> law = MixtureOfLogistics(1)  # one standard logistic is undone by the logit
        >>> z, log_derivative = law(torch.tensor([[3.0]]), torch.zeros(1, 5))
        >>> z.round(decimals=4), (log_derivative.abs() < 1e-5).item()
        (tensor([[3.]]), True)
        >>> law.inverse(z, torch.zeros(1, 5)).round(decimals=4)
        tensor([[3.]])

    References:
        Ho et al. (2019), Flow++: Improving Flow-Based Generative Models with Variational
        Dequantization and Architecture Design, https://arxiv.org/abs/1902.00275, section 3.2.
        There t is added after scaling; before it, as here and in the released code of mAR-SCF,
        is the same up to the size of t.
    """

    def __init__(self, num_components: int, *, rescale: int | None = None) -> None:
        super().__init__()
        self.num_components = num_components
        self.num_parameters = 2 + 3 * num_components
        self.direction = self.magnitude = None
        if rescale is not None:
            self.direction = nn.Parameter(torch.ones(rescale))
            self.magnitude = nn.Parameter(torch.ones(rescale))

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latent; see `ElementwiseMap.forward`."""
        log_scale, shift, log_weights, means, log_scales = self._split(parameters)
        distance = (x.unsqueeze(1) - means) * (-log_scales).exp()
        below, above = F.logsigmoid(distance), F.logsigmoid(-distance)
        # The density of a logistic is the product of both tails over its scale.
        log_density = torch.logsumexp(log_weights + below + above - log_scales, dim=1)
        log_cdf = torch.logsumexp(log_weights + below, dim=1)
        log_rest = torch.logsumexp(log_weights + above, dim=1)
        z = (log_cdf - log_rest + shift) * log_scale.exp()
        return z, log_density - log_cdf - log_rest + log_scale

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        """Maps latent to data, see the class for how closely."""
        log_scale, shift, log_weights, means, log_scales = self._split(parameters)
        logit = z * (-log_scale).exp() - shift
        inverse_scales = (-log_scales).exp()
        # At the least of these every component is below the value sought, at the largest above.
        bounds = means + log_scales.exp() * logit.unsqueeze(1)
        low, high = bounds.amin(dim=1), bounds.amax(dim=1)
        for _ in range(SPARE_BITS - round(math.log2(torch.finfo(z.dtype).eps))):
            middle = 0.5 * (low + high)
            distance = (middle.unsqueeze(1) - means) * inverse_scales
            log_cdf = torch.logsumexp(log_weights + F.logsigmoid(distance), dim=1)
            log_rest = torch.logsumexp(log_weights + F.logsigmoid(-distance), dim=1)
            is_low = log_cdf - log_rest < logit
            low, high = torch.where(is_low, middle, low), torch.where(is_low, high, middle)
        return 0.5 * (low + high)

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Values s and t (B, C, ...); log weights, means and log scales (B, K, C, ...)."""
        stacked = parameters.unflatten(1, (self.num_parameters, -1))  # (B, 2 + 3K, C, ...)
        sizes = [1, 1, *3 * [self.num_components]]
        raw, shift, weights, means, log_scales = stacked.split(sizes, dim=1)
        log_scale = torch.tanh(raw.squeeze(1))
        if self.direction is not None and self.magnitude is not None:
            factor = self.magnitude * self.direction / self.direction.abs()
            log_scale = log_scale * factor.view(-1, *(1,) * (log_scale.ndim - 2))
        log_weights = weights.log_softmax(dim=1)
        return log_scale, shift.squeeze(1), log_weights, means, log_scales.clamp(LOWEST_LOG_SCALE)
