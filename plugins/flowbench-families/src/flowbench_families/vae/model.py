"""A variational autoencoder with layers of latents, of images and of vectors."""

from __future__ import annotations

import torch
from flowbench.api import (
    Batch,
    Context,
    DatasetInfo,
    DensityModel,
    SamplingOptions,
    Step,
    WithInfo,
    bits_per_dim,
)
from flowbench_models.nets.unet import Double, Halve
from torch import Tensor, nn

from flowbench_families.laws import Law
from flowbench_families.mixtures import DiscretisedLogistics
from flowbench_families.vae.config import VAEConfig
from flowbench_families.vae.layers import LatentLayer, Normal, convolution, residuals


class VAE(DensityModel):
    r"""A variational autoencoder whose latents :math:`z_1 \ldots z_L` go from coarse to fine.

    A log-weight is that of one draw of all latents from the posterior:

    .. math:: \log p(x \mid z) + \sum_l \log \frac{p(z_l \mid z_{<l})}{q(z_l \mid x, z_{<l})}

    A network goes up from the data; another one comes down through the latents, and is told of the
    first where a posterior is. It ends with the parameters of a `DiscretisedLogistics` for each
    pixel. Vectors are images of one pixel, and end with a Gaussian.

    References:
        Kingma and Welling (2014), Auto-Encoding Variational Bayes,
        https://arxiv.org/abs/1312.6114; layers and free bits as in Kingma et al. (2016), Improved
        Variational Inference with Inverse Autoregressive Flow, https://arxiv.org/abs/1606.04934,
        section 4 and appendix C.8, but in a small form: bits are free for each layer, not for each
        of its channels. The warm-up is that of Sønderby et al. (2016), Ladder Variational
        Autoencoders, https://arxiv.org/abs/1602.02282.
    """

    config: VAEConfig

    def __init__(self, config: VAEConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        is_image = len(data.event_shape) == 3
        channels, height, width = data.event_shape if is_image else (data.num_dims, 1, 1)
        self.shape = channels, height, width
        self.law: Law = (
            DiscretisedLogistics(
                components=config.components, levels=data.levels, channels=channels
            )
            if data.levels is not None
            else Normal(channels=channels)
        )
        sizes = _sizes(height, width, config.resolutions)
        self.enter = convolution(channels, config.width, (height, width))
        self.start = nn.Parameter(torch.zeros(config.width, *sizes[-1]))
        self.ups, self.layers, self.downs = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        finer = height, width
        for size in sizes:
            for index in range(config.layers):
                self._add_layer(size, halves=index == 0 and size != finer)
            finer = size
        self.leave = convolution(config.width, self.law.num_parameters, (height, width))

    def _add_layer(self, size: tuple[int, int], *, halves: bool) -> None:
        """Adds a layer above all others, and the ways there and back."""
        config, width = self.config, self.config.width

        def way(resample: nn.Module) -> nn.Sequential:
            return nn.Sequential(resample, residuals(config.blocks, width, size))

        none = nn.Identity()
        self.ups.append(way(Halve(width, "convolution") if halves else none))
        self.layers.append(
            LatentLayer(
                width,
                config.latents,
                size,
                flow_steps=config.flow_steps,
                flow_width=config.flow_width,
            )
        )
        double = Double(width, "convolution") if halves else none
        self.downs.append(nn.Sequential(residuals(config.blocks, width, size), double))

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Log-weight of each example, for one draw of all latents; see `DensityModel.log_prob`."""
        del context
        log_likelihood, log_ratios = self._weigh(x, generator)
        return log_likelihood + torch.stack(log_ratios).sum(dim=0)

    def loss(self, batch: Batch, step: Step) -> WithInfo:
        """The bound in bits per dimension, but for free bits and the warm-up.

        Beside it goes what the latents take of the bound.
        """
        log_likelihood, log_ratios = self._weigh(batch.x, step.generator)
        bits = bits_per_dim(torch.stack(log_ratios).mean(dim=1), 1)  # of each layer
        rate, num = bits.sum(), self.data.num_dims
        if self.config.free_bits:
            bits = bits.clamp(min=self.config.free_bits)
        cost = bits.sum() / num
        if self.config.warm_up:
            cost = cost * (step.progress / self.config.warm_up).clamp(max=1.0)
        loss = bits_per_dim(log_likelihood.mean(), num) + cost
        return loss, {"rate_bits_per_dim": rate.detach() / num}

    @torch.no_grad()
    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: torch.Generator,
    ) -> Tensor:
        """Draws latents from coarse to fine, then the data.

        The temperature scales the noise of latents, and that of the data as their law has it.
        """
        del context
        h = self._top(num)
        for layer, down in self._downwards():
            h = down(layer.draw(h, settings.temperature, generator))
        drawn = self.law.sample(self.leave(h), settings.temperature, generator)
        return drawn.view(num, *self.data.event_shape)

    def _weigh(self, x: Tensor, generator: torch.Generator | None) -> tuple[Tensor, list[Tensor]]:
        """Log-likelihoods given a draw of latents, and log-ratios of each layer, all (B,)."""
        pixels = x.view(len(x), *self.shape)
        h = self.enter(self.law.values(pixels, self.start.dtype))
        seen = []
        for up in self.ups:
            h = up(h)
            seen.append(h)
        h, log_ratios = self._top(len(x)), []
        for layer, down in self._downwards():
            h, log_ratio = layer.infer(h, seen.pop(), generator)
            h = down(h)
            log_ratios.append(log_ratio)
        return self.law.log_prob(pixels, self.leave(h)).sum(dim=(1, 2)), log_ratios

    def _top(self, num: int) -> Tensor:
        return self.start.expand(num, -1, -1, -1)

    def _downwards(self) -> list[tuple[LatentLayer, nn.Module]]:
        """Layers from the coarsest on, each with the way on from it."""
        pairs = zip(self.layers, self.downs, strict=True)
        return [(layer, down) for layer, down in pairs if isinstance(layer, LatentLayer)][::-1]


def _sizes(height: int, width: int, most: int) -> list[tuple[int, int]]:
    """Of the maps of latents, from the finest on; the whole size where it cannot be halved."""
    sizes: list[tuple[int, int]] = []
    while len(sizes) < most and height % 2 == width % 2 == 0 and min(height, width) > 2:
        height, width = height // 2, width // 2
        sizes.append((height, width))
    return sizes or [(height, width)]
