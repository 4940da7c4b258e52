"""Multi-layer perceptrons."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from flowbench_models.nets.convolution import Conditioner


class MLP(Conditioner):
    """Fully connected layers with ReLU between them.

    Args:
        hidden: Width of each hidden layer.
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
            # Dropout of 0 is there as well: names of weights do not change with a setting.
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
