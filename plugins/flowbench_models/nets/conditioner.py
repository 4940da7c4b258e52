"""What a network must offer to condition a bijection."""

from __future__ import annotations

from torch import Tensor, nn


class Conditioner(nn.Module):
    """A network from the elements that pass to the parameters of those that are transformed."""

    def forward(self, h: Tensor) -> Tensor:
        """Computes parameters.

        Args:
            h: Conditioning elements, shape (B, C, ...).

        Returns:
            Parameters, shape (B, num_parameters * C_out, ...).
        """
        raise NotImplementedError

    def initialize(self, h: Tensor) -> Tensor:
        """Sets whatever depends on data from a first batch; by default there is nothing to set.

        Args:
            h: Conditioning elements, shape (B, C, ...).

        Returns:
            What ``forward`` now returns.
        """
        parameters: Tensor = self(h)
        return parameters
