"""A convolution with bias that keeps height and width: the brick of DenseFlow's networks."""

from __future__ import annotations

from torch import Tensor, nn

from flowbench_models.nets.conditioner import Conditioner
from flowbench_models.nets.convolution import convolve


class PlainConv2d(nn.Conv2d):
    """Convolution with zero padding, initialised as `torch.nn.Conv2d` does it.

    Args:
        num_inputs: Input channels.
        num_outputs: Output channels.
        kernel_size: Odd; the output has the input's height and width.
        bias: Whether there is a bias.
        rectify: Whether a ReLU follows.
        zero: Whether weight and bias start at zero, so that a coupling starts as identity.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        kernel_size: int = 1,
        *,
        bias: bool = True,
        rectify: bool = False,
        zero: bool = False,
    ) -> None:
        super().__init__(num_inputs, num_outputs, kernel_size, padding=kernel_size // 2, bias=bias)
        self.rectify = rectify
        if zero:
            for parameter in self.parameters():
                nn.init.zeros_(parameter)

    def forward(self, input: Tensor) -> Tensor:
        """Maps (B, num_inputs, H, W) to (B, num_outputs, H, W)."""
        return convolve(input, self.weight, self.bias, rectify=self.rectify)


class PlainConvNet(Conditioner):
    """Convolutions 3x3, 1x1 and 3x3 with ReLU between them, the last one zero-initialised.

    Args:
        num_inputs: Input channels.
        num_outputs: Output channels.
        width: Hidden channels.

    References:
        Kingma and Dhariwal (2018), Glow, https://arxiv.org/abs/1807.03039, section B.1, without
        the normalisation that only its released code has.
    """

    def __init__(self, num_inputs: int, num_outputs: int, *, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            PlainConv2d(num_inputs, width, 3, rectify=True),
            PlainConv2d(width, width, rectify=True),
            PlainConv2d(width, num_outputs, 3, zero=True),
        )

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, num_inputs, H, W) to (B, num_outputs, H, W)."""
        parameters: Tensor = self.layers(h)
        return parameters
