"""A transformer over pixels: an image pixel by pixel, each by attention to all before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from flowbench.api import Context, DatasetInfo, Preset, SamplingOptions, report_progress
from flowbench_models.nets.transformer import TokenDecoder, TokenTransformer
from pydantic import Field
from torch import Tensor

from flowbench_families.laws import Categorical
from flowbench_families.pixel_model import PixelModel
from flowbench_families.pixels import PixelConfig


class PixelTransformerConfig(PixelConfig):
    """Configuration of the transformer over pixels.

    Attributes:
        width: Channels of a pixel's token.
        layers: Of attention and a perceptron.
        head_dim: Channels of an attention head; it divides the width.
    """

    called = "pixel-transformer"

    width: int = Field(default=64, ge=1)
    layers: int = Field(default=4, ge=1)
    head_dim: int = Field(default=16, ge=1)

    presets: ClassVar[Mapping[str, Preset]] = {
        "digits": Preset(
            summary="four layers of 64 channels, for a minute on digits (8x8)",
            values={"training": {"lr": 6e-3}},
            tuning_trials=4,
        ),
        "natural-patches": Preset(
            summary="four layers of 64 channels, for minutes on 32x32 images",
            values={"training": {"batch_size": 8}},
            tuning_trials=2,
        ),
    }

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Images of integer levels."""
        if self.width % self.head_dim:
            return f"head_dim={self.head_dim} does not divide width={self.width}"
        return super().unsupported(data)


class PixelTransformer(PixelModel):
    """A causal transformer over the pixels of an image, a baseline of this project.

    A token is a pixel: the levels of its channels, and where it lies. What stands behind the token
    of one pixel is the law of the next. A channel sees those before it of its own pixel through a
    table of their levels.

    References:
        Parmar et al. (2018), Image Transformer, https://arxiv.org/abs/1802.05751. Departures: all
        pixels before one are attended to, none left out; layers are those of TarFlow.
    """

    config: PixelTransformerConfig

    def __init__(self, config: PixelTransformerConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.net = TokenTransformer(
            self.law.levels * self.law.channels,
            self.law.num_parameters,
            num_tokens=data.event_shape[1] * data.event_shape[2],
            width=config.width,
            num_layers=config.layers,
            head_dim=config.head_dim,
            causal=True,
            last_norm=True,
        )

    def make_law(self, *, levels: int, channels: int) -> Categorical:
        """A softmax; see `PixelModel.make_law`."""
        return Categorical(levels=levels, channels=channels)

    def parameters_of(self, levels: Tensor) -> Tensor:
        """The parameters of all pixels; see `PixelModel.parameters_of`."""
        tokens = self._tokens(levels.flatten(2).transpose(1, 2))  # (B, H * W, ...)
        parameters = self.net(F.pad(tokens, (0, 0, 1, -1)), None).transpose(1, 2)
        of_pixels: Tensor = parameters.unflatten(2, levels.shape[2:])
        return of_pixels

    @torch.no_grad()
    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: torch.Generator,
    ) -> Tensor:
        """Draws pixel after pixel; keys and values of those before are kept.

        What the temperature does, the law says.
        """
        del context
        channels, height, width = self.data.event_shape
        decoder = TokenDecoder(self.net, num)
        weight = self.net.embed.weight
        token = weight.new_zeros(num, self.net.embed.in_features)
        drawn: list[Tensor] = []
        for place in range(height * width):
            parameters = decoder.step(token, place)[..., None, None]
            drawn.append(self.law.sample(parameters, settings.temperature, generator).flatten(1))
            token = self._tokens(drawn[-1])
            report_progress((place + 1) / (height * width))
        return torch.stack(drawn, dim=2).view(num, channels, height, width)

    def _tokens(self, levels: Tensor) -> Tensor:
        """Levels (..., C) as one indicator for each, (..., C * levels)."""
        indicators = F.one_hot(levels, self.law.levels).flatten(-2)
        return indicators.to(self.net.embed.weight.dtype)
