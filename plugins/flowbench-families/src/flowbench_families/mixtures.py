"""The discretised mixture of logistics, a law of the levels of a pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from flowbench_models.bijections.mixtures import LOWEST_LOG_SCALE
from torch import Tensor

from flowbench_families.laws import PixelLaw, draw_index, earlier_channels


class DiscretisedLogistics(PixelLaw):
    r"""A mixture of K logistics over the levels of all channels of a pixel, cut into bins.

    Levels lie at :math:`x = -1 \ldots 1`; the first and the last bin reach on without end:

    .. math:: p(x) = \sum_k \pi_k \prod_c \left[ \sigma\big((x_c + h - \mu_{kc}) / s_{kc}\big)
              - \sigma\big((x_c - h - \mu_{kc}) / s_{kc}\big) \right], \qquad h = 1 / (L - 1)

    A channel's mean moves with the channels before it,
    :math:`\mu_{kc} = m_{kc} + \sum_{b < c} \tanh(a_{kbc})\, x_b`.

    Args:
        components: Number K.
        levels: Number L of levels, at least 2.
        channels: Number C of channels.

    Example:
        >>> law = DiscretisedLogistics(components=1, levels=2, channels=1)
        >>> levels = torch.tensor([0, 1]).view(2, 1, 1, 1)
        >>> law.log_prob(levels, torch.zeros(2, 3, 1, 1)).exp().flatten()
        tensor([0.5000, 0.5000])

    References:
        Salimans et al. (2017), PixelCNN++, https://arxiv.org/abs/1701.05517, sections 2.1 and 2.2.
        Differences of sigmoids are computed exactly, where the released code takes the density in
        the place of those below 1e-5: probabilities sum to 1.
    """

    def __init__(self, *, components: int, levels: int, channels: int) -> None:
        # For each pair a factor, with which the first channel moves the mean of the second.
        self._pairs = earlier_channels(channels)
        num = components * (1 + 2 * channels + len(self._pairs))
        super().__init__(levels=levels, channels=channels, num_parameters=num)
        self.components = components

    def log_prob(self, pixels: Tensor, parameters: Tensor) -> Tensor:
        """Log-probabilities of pixels; see `Law.log_prob`."""
        weights, means, log_scales, factors = self._split(parameters)
        values = self.values(pixels, parameters.dtype).unsqueeze(2).unbind(1)  # C of (B, 1, H, W)
        moved = [self._mean(c, means, factors, values) for c in range(self.channels)]
        half = 1.0 / (self.levels - 1)
        inverse = (-log_scales).exp()
        distance = torch.stack(values, dim=1) - torch.stack(moved, dim=1)  # (B, C, K, H, W)
        is_first = (pixels == 0).unsqueeze(2)
        is_last = (pixels == self.levels - 1).unsqueeze(2)
        # s(a) - s(b) = s(a) s(-b) (1 - exp(b - a)), of which nothing cancels.
        below = F.logsigmoid((distance + half) * inverse).masked_fill(is_last, 0.0)
        above = F.logsigmoid((half - distance) * inverse).masked_fill(is_first, 0.0)
        between = (-torch.expm1(-2.0 * half * inverse)).log()
        log_p = below + above + between.masked_fill(is_first | is_last, 0.0)
        return torch.logsumexp(weights.log_softmax(dim=1) + log_p.sum(dim=1), dim=1)

    def sample(self, parameters: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
        """Draws pixels; see `Law.sample`.

        The temperature divides the logits of components and multiplies their scales.
        """
        weights, means, log_scales, factors = self._split(parameters)
        chosen = draw_index(weights, temperature, generator)  # (B, 1, H, W)

        def of_chosen(stacked: Tensor) -> Tensor:
            """Of the chosen component, (B, C, 1, H, W)."""
            index = chosen.unsqueeze(1).expand(-1, stacked.shape[1], -1, -1, -1)
            return stacked.gather(2, index)

        means, log_scales, factors = map(of_chosen, (means, log_scales, factors))
        uniform = torch.empty_like(means).uniform_(generator=generator)
        spread = temperature * log_scales.exp() * uniform.logit()
        drawn: list[Tensor] = []
        values: list[Tensor] = []
        for c in range(self.channels):
            value = self._mean(c, means, factors, values) + spread[:, c]
            # A logistic is drawn before it is cut: that of a bin is its part of it.
            nearest = ((value + 1.0) * (0.5 * (self.levels - 1))).round()
            drawn.append(nearest.clamp(0, self.levels - 1).long())
            values.append(self.values(drawn[-1], parameters.dtype))
        return torch.cat(drawn, dim=1)

    def _mean(self, c: int, means: Tensor, factors: Tensor, values: Sequence[Tensor]) -> Tensor:
        """The means of a channel, given the values of those before it."""
        mean = means[:, c]
        for place, (before, after) in enumerate(self._pairs):
            if after == c:
                mean = mean + factors[:, place] * values[before]
        return mean

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits (B, K, H, W); means and log scales (B, C, K, H, W), factors for each pair."""
        stacked = parameters.unflatten(1, (-1, self.components))
        sizes = [1, self.channels, self.channels, len(self._pairs)]
        weights, means, log_scales, factors = stacked.split(sizes, dim=1)
        return weights.squeeze(1), means, log_scales.clamp(min=LOWEST_LOG_SCALE), factors.tanh()
