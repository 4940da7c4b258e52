"""PixelCNN++: an image pixel by pixel, each by a discretised mixture of logistics."""

from __future__ import annotations

import torch
from flowbench.api import DatasetInfo

from flowbench_families.causal import CausalModel
from flowbench_families.mixtures import DiscretisedLogistics
from flowbench_families.pixelcnnpp.config import PixelCNNPPConfig
from flowbench_families.streams import PIXELS, ROWS, Sight, Stream


class PixelCNNPP(CausalModel):
    r"""PixelCNN++.

    Two streams of causal convolutions go down through resolutions and back up, joined across; from
    the second come the parameters of a `DiscretisedLogistics` for each pixel.

    References:
        Salimans et al. (2017), PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture
        Likelihood and Other Modifications, https://arxiv.org/abs/1701.05517, with the details of
        the released code. Departures: see `DiscretisedLogistics`; samples are levels, and condition
        what follows as levels (released: as the real numbers that were drawn).
    """

    config: PixelCNNPPConfig

    def __init__(self, config: PixelCNNPPConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        _, height, width = data.event_shape

        def stream(sight: Sight, is_told: bool) -> Stream:
            return Stream(
                config.width,
                sight,
                blocks=config.blocks,
                resolutions=_resolutions(height, width, config.resolutions),
                is_told=is_told,
                dropout=config.dropout,
            )

        self.rows, self.pixels = stream(ROWS, False), stream(PIXELS, True)
        self.to(memory_format=torch.channels_last)

    def make_law(self, *, levels: int, channels: int) -> DiscretisedLogistics:
        """A mixture; see `PixelModel.make_law`."""
        components = self.config.components
        return DiscretisedLogistics(components=components, levels=levels, channels=channels)


def _resolutions(height: int, width: int, most: int) -> int:
    """How many there are, each half as high and wide as that before."""
    num = 1
    # Of a single row, or of one pixel alone, a stream would see nothing.
    while num < most and height % 2 == width % 2 == 0 and min(height, width) > 2:
        height, width, num = height // 2, width // 2, num + 1
    return num
