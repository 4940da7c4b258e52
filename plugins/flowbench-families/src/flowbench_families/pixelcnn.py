"""PixelCNN: an image pixel by pixel, by gated causal convolutions and a softmax over levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, cast

import torch
from flowbench.api import DatasetInfo, Preset
from flowbench_models.nets.calibrated import CalibratedConv2d
from pydantic import Field
from torch import Tensor, nn

from flowbench_families.causal import CausalModel
from flowbench_families.laws import Categorical
from flowbench_families.pixels import PixelConfig
from flowbench_families.streams import PIXELS, ROWS, Nodes, Sight, Way, convolution


class PixelCNNConfig(PixelConfig):
    """Configuration of PixelCNN.

    Attributes:
        layers: Gated convolutions of each stream.
    """

    called = "pixelcnn"

    layers: int = Field(default=6, ge=1)

    presets: ClassVar[Mapping[str, Preset]] = {
        "digits": Preset(
            summary="six layers of 32 channels, for a minute on digits (8x8)",
            values={"training": {"lr": 6e-3}},
            tuning_trials=4,
        ),
        "natural-patches": Preset(
            summary="six layers of 32 channels, for minutes on 32x32 images",
            values={"training": {"batch_size": 16, "lr": 6e-3}},
            tuning_trials=2,
        ),
    }


class GatedStream(nn.Module):
    """One of both streams: gated convolutions, in the pixels stream beside shortcuts.

    Args:
        width: Channels.
        layers: Number of convolutions.
        is_told: Whether the other stream tells it what is in its gates.
    """

    def __init__(self, width: int, layers: int, sight: Sight, *, is_told: bool) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            convolution(width, 2 * width, sight) for _ in range(layers)
        )
        self.told = nn.ModuleList(
            CalibratedConv2d(2 * width, 2 * width, weight_norm=True)
            for _ in range(is_told * layers)
        )
        self.leave = nn.ModuleList(
            CalibratedConv2d(width, width, weight_norm=True) for _ in range(is_told * layers)
        )

    def forward(self, h: Tensor, told: Nodes, way: Way) -> Nodes:
        """Runs all layers; the nodes are what is in the gates, or what the shortcuts lead to."""
        made = []
        hears, leaves = iter(_convolutions(self.told)), iter(_convolutions(self.leave))
        for place, layer in enumerate(_convolutions(self.convolutions)):
            gates = way.convolve(layer, h)
            if self.told:
                gates = gates + way.convolve(next(hears), told[0][place])
                h = h + way.convolve(next(leaves), _gated(gates))
                made.append(h)
            else:
                h = _gated(gates)
                made.append(gates)
        return [made]


def _convolutions(layers: nn.ModuleList) -> list[CalibratedConv2d]:
    return cast("list[CalibratedConv2d]", list(layers))


def _gated(h: Tensor) -> Tensor:
    value, weight = h.chunk(2, dim=1)
    return value.tanh() * weight.sigmoid()


class PixelCNN(CausalModel):
    """A small gated PixelCNN, a baseline of this project.

    References:
        van den Oord et al. (2016), Conditional Image Generation with PixelCNN Decoders,
        https://arxiv.org/abs/1606.05328, section 2. Departures: convolutions are those of
        PixelCNN++, calibrated by a first batch; a channel sees the channels before it of its own
        pixel through a table of their levels.
    """

    config: PixelCNNConfig

    def __init__(self, config: PixelCNNConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.rows = GatedStream(config.width, config.layers, ROWS, is_told=False)
        self.pixels = GatedStream(config.width, config.layers, PIXELS, is_told=True)
        self.to(memory_format=torch.channels_last)

    def make_law(self, *, levels: int, channels: int) -> Categorical:
        """A softmax; see `PixelModel.make_law`."""
        return Categorical(levels=levels, channels=channels)
