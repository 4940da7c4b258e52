"""Vector fields of FFJORD: layers that know the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KERNEL_SIZE = 3


class ConcatLinear(nn.Module):
    r"""Linear layer with the time as one more input, :math:`W [t, x] + b`."""

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(num_inputs + 1, num_outputs)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Maps (B, num_inputs) at a time of shape () to (B, num_outputs)."""
        out: Tensor = self.layer(torch.cat((t.expand(len(x), 1), x), dim=1))
        return out


class ConcatSquashLinear(nn.Module):
    r"""Linear layer that the time gates and shifts, :math:`(W x + b)\,\sigma(a t + c) + d t`."""

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(num_inputs, num_outputs)
        self.shift = nn.Linear(1, num_outputs, bias=False)
        self.gate = nn.Linear(1, num_outputs)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Maps (B, num_inputs) at a time of shape () to (B, num_outputs)."""
        time = t.view(1, 1)
        # Not `addcmul`, which has no derivative forwards: torch takes it apart at each call.
        out: Tensor = self.layer(x) * self.gate(time).sigmoid() + self.shift(time)
        return out


class ConcatConv2d(nn.Module):
    """Convolution with the time as one more channel; height and width stay."""

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(num_inputs + 1, num_outputs, KERNEL_SIZE, padding=KERNEL_SIZE // 2)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Maps (B, num_inputs, H, W) at a time of shape () to (B, num_outputs, H, W)."""
        # The channel first, as in the released code.
        out: Tensor = self.layer(torch.cat((t.expand_as(x[:, :1]), x), dim=1))
        return out


Layer = type[ConcatLinear] | type[ConcatSquashLinear] | type[ConcatConv2d]

LAYERS: dict[str, Layer] = {
    "concat": ConcatLinear,
    "concatsquash": ConcatSquashLinear,
    "convolution": ConcatConv2d,
}
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "softplus": F.softplus}


class TimeNetwork(nn.Module):
    """Layers that know the time, with an activation between them.

    Args:
        num_channels: Inputs and outputs: dims of a vector, channels of an image.
        hidden: Width of each hidden layer.

    Example:
        >>> net = TimeNetwork(3, (8, 8), layer="concatsquash", activation="tanh")
        >>> net(torch.tensor(0.5), torch.zeros(4, 3)).shape
        torch.Size([4, 3])
    """

    def __init__(
        self,
        num_channels: int,
        hidden: Sequence[int],
        *,
        layer: Literal["concat", "concatsquash", "convolution"],
        activation: Literal["tanh", "softplus"],
    ) -> None:
        super().__init__()
        widths = (num_channels, *hidden, num_channels)
        self.layers = nn.ModuleList(LAYERS[layer](*pair) for pair in pairwise(widths))
        self.activation = ACTIVATIONS[activation]

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """The velocity at a time of shape () and at points (B, num_channels, ...)."""
        first, *others = self.layers
        x = first(t, x)
        for layer in others:
            x = layer(t, self.activation(x))
        return x
