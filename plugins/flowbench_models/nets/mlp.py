"""Multi-layer perceptrons, plain and residual."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
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


SMALL_START = 1e-3
"""Bound of the last weights of a residual block at the start; released code of NSF."""


class ResidualMLP(Conditioner):
    r"""Perceptron of residual blocks, :math:`h + W_2\,\sigma(W_1\,\sigma(h))`.

    Args:
        width: Hidden units.
        blocks: Residual blocks, between a first and a last linear layer.
        dropout: Part of the units inside a block that are dropped in training.
        num_context: Size of a context, which is joined to the inputs; 0 for none.

    Example:
        >>> net = ResidualMLP(3, 4, width=16, blocks=2, num_context=1)
        >>> net(torch.ones(5, 3), torch.ones(5, 1)).shape
        torch.Size([5, 4])

    References:
        Durkan et al. (2019), Neural Spline Flows, https://arxiv.org/abs/1906.04032, appendix B.1.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        *,
        width: int,
        blocks: int,
        dropout: float = 0.0,
        num_context: int = 0,
    ) -> None:
        super().__init__()
        self.first = nn.Linear(num_inputs + num_context, width)
        self.blocks = nn.ModuleList(
            nn.ModuleList((nn.Linear(width, width), nn.Linear(width, width))) for _ in range(blocks)
        )
        self.last = nn.Linear(width, num_outputs)
        self.dropout = dropout
        for block in self.blocks:
            for parameter in block[1].parameters():  # type: ignore[index]
                nn.init.uniform_(parameter, -SMALL_START, SMALL_START)

    def forward(self, h: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, num_inputs), and a context (B, num_context), to (B, num_outputs)."""
        h = self.first(h if context is None else torch.cat((h, context), dim=1))
        for block in self.blocks:
            enter, leave = cast("tuple[nn.Module, nn.Module]", tuple(block.children()))
            inner = F.dropout(enter(h.relu()).relu(), self.dropout, self.training)
            h = h + leave(inner)
        out: Tensor = self.last(h)
        return out
