"""Multi-layer perceptrons."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from flowbench_models.nets.conditioner import Conditioner


class MLP(Conditioner):
    """Fully connected layers with ReLU between them.

    Args:
        num_inputs: Number of inputs.
        hidden: Width of each hidden layer.
        num_outputs: Number of outputs.
        dropout: Part of hidden units that are dropped in training.
        zero_output: Whether the last layer starts at zero, so that a coupling starts as identity.
    """

    def __init__(
        self,
        num_inputs: int,
        hidden: Sequence[int],
        num_outputs: int,
        *,
        dropout: float = 0.0,
        zero_output: bool = True,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise((num_inputs, *hidden)):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
        output = nn.Linear(hidden[-1] if hidden else num_inputs, num_outputs)
        if zero_output:
            nn.init.zeros_(output.weight)
            nn.init.zeros_(output.bias)
        self.layers = nn.Sequential(*layers, output)

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, num_inputs) to (B, num_outputs)."""
        parameters: Tensor = self.layers(h)
        return parameters


class ImageMLP(Conditioner):
    """An `MLP` over all pixels of an image: for images so small that they have no far corners.

    Args:
        in_shape: Shape of the input (C_in, H, W).
        num_outputs: Output channels C_out.
        hidden: Width of each hidden layer.
        dropout: Part of hidden units that are dropped in training.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        num_outputs: int,
        hidden: Sequence[int],
        *,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, height, width = in_shape
        positions = height * width
        self.net = MLP(channels * positions, hidden, num_outputs * positions, dropout=dropout)

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, C_in, H, W) to (B, C_out, H, W)."""
        parameters: Tensor = self.net(h.flatten(1))
        return parameters.view(h.shape[0], -1, *h.shape[2:])
