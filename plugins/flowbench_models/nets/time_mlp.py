r"""A perceptron that knows the time, as a velocity or a score over vectors."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from flowbench_models.nets.time_embedding import sinusoids

TIME_SIZE = 32
"""Sinusoids that the time is told by."""


class TimeMLP(nn.Module):
    r"""Residual blocks :math:`h + W_2\,\mathrm{silu}(W_1\,\mathrm{silu}(h) + V e)`.

    e embeds the time and a label. Smooth, so that a solver of its flow takes long steps.

    Args:
        num_dims: Inputs D, and outputs.
        width: Hidden units.
        blocks: Residual blocks, between a first and a last linear layer.
        dropout: Part of the units inside a block that are dropped in training.
        num_labels: Labels, that for none included; 0 for a network without.
        num_times: Times that it is told.

    Example:
        >>> net = TimeMLP(3, width=16, blocks=2)
        >>> net(torch.rand(5), torch.randn(5, 3)).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        num_dims: int,
        *,
        width: int,
        blocks: int,
        dropout: float = 0.0,
        num_labels: int = 0,
        num_times: int = 1,
    ) -> None:
        super().__init__()
        self.time = nn.Linear(num_times * TIME_SIZE, width)
        self.label = nn.Embedding(num_labels, width) if num_labels else None
        self.first = nn.Linear(num_dims, width)
        self.enter = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.told = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(blocks))
        self.leave = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.last = nn.Linear(width, num_dims)
        self.dropout = dropout

    def forward(self, t: Tensor, x: Tensor, label: Tensor | None = None) -> Tensor:
        """The output at times (B,), or (B, num_times), and values (B, ...), flattened for it."""
        embedded = self.time(sinusoids(t, TIME_SIZE))
        if self.label is not None and label is not None:
            embedded = embedded + self.label(label)
        embedded = F.silu(embedded)
        h = self.first(x.flatten(1))
        for enter, told, leave in zip(self.enter, self.told, self.leave, strict=True):
            inner = F.silu(enter(F.silu(h)) + told(embedded))
            h = h + leave(F.dropout(inner, self.dropout, self.training))
        out: Tensor = self.last(h)
        return out.view_as(x)
