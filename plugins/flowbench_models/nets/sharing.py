"""What tells the steps of a flow apart that share one network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Indication(nn.Module):
    r"""What tells a shared network which step it works for: an embedding and gates.

    How an embedding enters a network is the network's own; the gates multiply channels of its
    hidden layers by :math:`e^{\delta}`.

    Args:
        embedding: Its first value.
        gate_rows: Hidden layers with gates.
        width: Channels of each of them.

    Example:
        >>> steps = [Indication(torch.randn(3), gate_rows=2, width=4) for _ in range(5)]
        >>> Indication.factors(steps).shape
        torch.Size([5, 2, 4])

    References:
        Lee et al. (2020), NanoFlow: Scalable Normalizing Flows with Sublinear Parameter Complexity,
        https://arxiv.org/abs/2006.06280, section 3.3.
    """

    def __init__(self, embedding: Tensor, *, gate_rows: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(embedding)
        # As logarithms: at 0 every gate is 1, and none can turn negative.
        self.gates = nn.Parameter(torch.zeros(gate_rows, width))

    @staticmethod
    def factors(indications: Sequence[Indication]) -> Tensor:
        """Gates of several steps as factors, shape (K, gate_rows, width)."""
        return torch.stack([indication.gates for indication in indications]).exp()
