"""Layers of latents: a prior given all above them, and a posterior given the data as well."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from flowbench.api import standard_normal_log_prob
from flowbench_models.bijections.autoregressive import Autoregressive, InverseAutoregressive
from flowbench_models.bijections.base import SigmoidAffine
from flowbench_models.bijections.mixtures import LOWEST_LOG_SCALE
from flowbench_models.nets.made import MADE
from flowbench_models.nets.unet import zeroed
from torch import Tensor, nn

from flowbench_families.laws import Law

LARGEST_LOG_SCALE = 5.0
"""Of a posterior or a prior, which goes there slowly; released code of NVAE."""


class Pointwise(nn.Conv2d):
    """A linear layer on maps of a single position.

    Example:
        >>> Pointwise(3, 5, 1)(torch.zeros(2, 3, 1, 1)).shape
        torch.Size([2, 5, 1, 1])
    """

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, C, 1, 1) as the convolution does, in less than half the time."""
        return F.linear(h.flatten(1), self.weight.flatten(1), self.bias)[..., None, None]


def convolution(num_inputs: int, num_outputs: int, size: tuple[int, int]) -> nn.Conv2d:
    """A 3x3 convolution, or on a map of a single position a linear layer."""
    if size == (1, 1):
        return Pointwise(num_inputs, num_outputs, 1)
    return nn.Conv2d(num_inputs, num_outputs, 3, padding=1)


class Residual(nn.Module):
    """Two convolutions, each of ELUs, beside a shortcut."""

    def __init__(self, width: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.enter = convolution(width, width, size)
        self.leave = zeroed(convolution(width, width, size))

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, width, H, W) to the same shape."""
        out: Tensor = h + self.leave(F.elu(self.enter(F.elu(h))))
        return out


def residuals(num: int, width: int, size: tuple[int, int]) -> nn.Sequential:
    """So many residual blocks, one after the other."""
    return nn.Sequential(*(Residual(width, size) for _ in range(num)))


class LatentLayer(nn.Module):
    r"""Latents of one map, :math:`z = \mu(h) + \sigma(h)\, u`.

    h holds all that lies above. The prior of u is standard normal. Its posterior is Gaussian, given
    h and the data, or such a Gaussian behind inverse autoregressive steps. What goes on below is h
    with the latents.

    Args:
        width: Channels of h.
        latents: Channels of z.
        size: Height and width.
        flow_steps: As in the configuration.
        flow_width: As in the configuration.

    References:
        Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow,
        https://arxiv.org/abs/1606.04934, section 4. Departures: the steps see a layer's latents as
        one vector, by MADE in place of masked convolutions; the posterior is relative to the prior,
        as in Vahdat and Kautz (2020), NVAE, https://arxiv.org/abs/2007.03898, section 3.2.
    """

    def __init__(
        self, width: int, latents: int, size: tuple[int, int], *, flow_steps: int, flow_width: int
    ) -> None:
        super().__init__()
        self.latents = latents
        self.prior = zeroed(convolution(width, 2 * latents, size))
        parts = 3 if flow_steps else 2  # mean, scale, and what the steps are told
        self.posterior = convolution(2 * width, parts * latents, size)
        num = latents * size[0] * size[1]
        self.steps = nn.ModuleList(
            _step(num, flow_width, reverse=bool(index % 2)) for index in range(flow_steps)
        )
        self.enter = convolution(latents, width, size)

    def infer(
        self, h: Tensor, seen: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Draws latents from the posterior.

        Args:
            h: All above, shape (B, width, H, W).
            seen: Of the data, the same shape.
            generator: Source of the noise.

        Returns:
            h with the latents, and the log-ratio of prior to posterior, shape (B,), in nats.
        """
        mean, raw, *told = self.posterior(torch.cat((h, seen), dim=1)).split(self.latents, dim=1)
        log_scale = bounded(raw)
        noise = torch.randn(mean.shape, generator=generator, device=h.device, dtype=h.dtype)
        u = (mean + log_scale.exp() * noise).flatten(1)
        log_q = standard_normal_log_prob((noise,)) - log_scale.flatten(1).sum(dim=1)
        context = told[0].flatten(1) if told else None
        for step in self.steps:
            u, ladj = step.inverse_with_ladj(u, context)  # type: ignore[operator]
            log_q = log_q + ladj
        return self.join(h, u.view_as(mean)), standard_normal_log_prob((u,)) - log_q

    def draw(self, h: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
        """Draws latents from the prior; returns h with them."""
        shape = (len(h), self.latents, *h.shape[2:])
        u = torch.randn(shape, generator=generator, device=h.device, dtype=h.dtype)
        return self.join(h, temperature * u)

    def join(self, h: Tensor, u: Tensor) -> Tensor:
        """Adds the latents of u to what lies above."""
        mean, log_scale = self.prior(h).chunk(2, dim=1)
        joined: Tensor = h + self.enter(mean + bounded(log_scale).exp() * u)
        return joined


def bounded(log_scale: Tensor) -> Tensor:
    """Keeps a scale from running away."""
    return LARGEST_LOG_SCALE * (log_scale / LARGEST_LOG_SCALE).tanh()


def _step(num_dims: int, width: int, *, reverse: bool) -> InverseAutoregressive:
    """A step that starts near the identity."""
    net = MADE(
        num_dims,
        width,
        layers=1,
        num_parameters=2,
        reverse=reverse,
        num_context=num_dims,
        zero_output=True,
    )
    return InverseAutoregressive(Autoregressive(SigmoidAffine(shift_last=True), net))


class Normal(Law):
    """A Gaussian for each channel.

    Example:
        >>> law = Normal(channels=1)
        >>> law.log_prob(torch.zeros(1, 1, 1, 1), torch.zeros(1, 2, 1, 1))  # -ln(2 pi) / 2
        tensor([[[-0.9189]]])
    """

    def __init__(self, *, channels: int) -> None:
        super().__init__(channels=channels, num_parameters=2 * channels)

    def values(self, pixels: Tensor, dtype: torch.dtype) -> Tensor:
        """Real values as they are."""
        return pixels.to(dtype)

    def log_prob(self, pixels: Tensor, parameters: Tensor) -> Tensor:
        """Log-densities of pixels; see `Law.log_prob`."""
        mean, log_scale = self._split(parameters)
        u = (pixels - mean) * (-log_scale).exp()
        of_rows = [z.movedim(1, -1).flatten(0, -2) for z in (u, log_scale)]  # (B H W, C)
        log_p = standard_normal_log_prob((of_rows[0],)) - of_rows[1].sum(dim=1)
        return log_p.view(len(pixels), *pixels.shape[2:])

    def sample(self, parameters: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
        """Draws pixels; see `Law.sample`."""
        mean, log_scale = self._split(parameters)
        noise = torch.empty_like(mean).normal_(generator=generator)
        return mean + temperature * log_scale.exp() * noise

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_scale = parameters.chunk(2, dim=1)
        return mean, log_scale.clamp(min=LOWEST_LOG_SCALE)
