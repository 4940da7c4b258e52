"""Models that go through an image pixel by pixel, row by row from the left."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from flowbench.api import (
    Batch,
    Context,
    DatasetInfo,
    SamplingOptions,
    report_progress,
)
from flowbench_models.nets.calibrated import CalibratedConv2d
from torch import Tensor, nn

from flowbench_families.pixel_model import PixelModel
from flowbench_families.pixels import PixelConfig
from flowbench_families.streams import (
    CALIBRATING,
    PLAIN,
    ROWS,
    Kernels,
    PixelInTurn,
    RowInTurn,
    Sight,
    Way,
    convolution,
)

ROW_ABOVE = Sight(rows=1, left=1, right=1)
BESIDE = Sight(rows=2, left=0, right=0)


class Front(nn.Module):
    """From pixels to both streams, shifted so that none sees its own pixel.

    Args:
        num_inputs: Channels of the images, that of ones included.
    """

    def __init__(self, num_inputs: int, width: int) -> None:
        super().__init__()
        self.above = convolution(num_inputs, width, ROWS)
        self.row_above = convolution(num_inputs, width, ROW_ABOVE)
        self.beside = convolution(num_inputs, width, BESIDE)

    def forward(self, x: Tensor, way: Way) -> tuple[Tensor, Tensor]:
        """Maps (B, num_inputs, H, W) to what enters rows and pixels, (B, width, H, W) each."""
        rows, row, left = (
            way.convolve(layer, x) for layer in (self.above, self.row_above, self.beside)
        )
        down, right = (0, 0, 1, -1), (1, -1)
        return F.pad(rows, down), F.pad(row, down) + F.pad(left, right)


class CausalModel(PixelModel):
    """Base of models by two streams, each pixel given all that come before it.

    A subclass names the law of a pixel, and adds the streams.

    Attributes:
        law: Of the levels of a pixel; its parameters are made of what the pixels stream ends with.
        rows: The rows stream; it maps what enters, and how it is run, to `Nodes`.
        pixels: The pixels stream, which is told the nodes of the other.
    """

    rows: nn.Module
    pixels: nn.Module

    def __init__(self, config: PixelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        # Ones tell the image from what is around it.
        self.front = Front(self.law.channels + 1, config.width)
        self.head = CalibratedConv2d(config.width, self.law.num_parameters, weight_norm=True)

    def num_parameters(self) -> int:
        """With the norms of weights folded in."""
        layers = (layer for layer in self.modules() if isinstance(layer, CalibratedConv2d))
        norms = (layer.magnitude for layer in layers if layer.magnitude is not None)
        return self.num_parameters_training() - sum(norm.numel() for norm in norms)

    def num_parameters_training(self) -> int:
        """With the norms of weights, as the released code has them."""
        return super().num_parameters()

    def initialize(self, batch: Batch, *, generator: torch.Generator) -> None:
        """Calibrates all convolutions by a first batch."""
        del generator
        self.parameters_of(batch.x, CALIBRATING)

    @torch.no_grad()
    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: torch.Generator,
    ) -> Tensor:
        """Draws pixel after pixel, each layer at each position once; see `GenerativeModel.sample`.

        What the temperature does, the law says.
        """
        del context
        channels, height, width = self.data.event_shape
        weight = self.head.weight
        levels = torch.zeros(num, channels, height, width, dtype=torch.long, device=weight.device)
        # Two rows and two columns around the image, the ones among its channels.
        canvas = weight.new_zeros(num, channels + 1, height + 2, width + 2)
        canvas[:, -1, 2:, 1:-1] = 1.0
        kernels = Kernels()
        rows, pixels = RowInTurn(kernels), PixelInTurn(kernels, width)
        front = self.front

        def enter(layer: CalibratedConv2d, seen: Tensor) -> Tensor:
            return F.conv2d(seen, kernels.of(layer), layer.bias)

        for row in range(height):
            rows.row = pixels.row = row
            above = canvas[:, :, row : row + 2]
            # Of the first row nothing is above: what is shifted in is zero, without a bias.
            entered = enter(front.above, above) * (row > 0)
            below = enter(front.row_above, above[:, :, 1:]) * (row > 0)
            nodes = self.rows(entered, (), rows)
            for column in range(width):
                pixels.column = column
                h = below[..., column : column + 1]
                if column:
                    beside = canvas[:, :, row + 1 : row + 3, column : column + 1]
                    h = h + enter(front.beside, beside)
                told = [
                    [node[..., column >> depth].unsqueeze(-1) for node in here]
                    for depth, here in enumerate(nodes)
                ]
                h = self.pixels(h, told, pixels)[0][-1]
                parameters = pixels.convolve(self.head, F.elu(h))
                drawn = self.law.sample(parameters, settings.temperature, generator)
                levels[:, :, row, column] = drawn.flatten(1)
                values = self.law.values(drawn, weight.dtype).flatten(1)
                canvas[:, :-1, row + 2, column + 1] = values
                report_progress((row * width + column + 1) / (height * width))
        return levels

    def parameters_of(self, levels: Tensor, way: Way = PLAIN) -> Tensor:
        """The parameters of all pixels; see `PixelModel.parameters_of`.

        Args:
            way: How layers are run.
        """
        values = self.law.values(levels, self.head.weight.dtype)
        ones = torch.ones_like(values[:, :1])
        rows, pixels = self.front(torch.cat((values, ones), dim=1), way)
        h = self.pixels(pixels, self.rows(rows, (), way), way)[0][-1]
        return way.convolve(self.head, F.elu(h))
