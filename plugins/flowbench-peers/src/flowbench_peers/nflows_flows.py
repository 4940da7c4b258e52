"""Flows of nflows, by its public API.

References:
    Durkan et al. (2020), nflows: normalizing flows in PyTorch,
    https://github.com/bayesiains/nflows.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from flowbench.api import Context, DatasetInfo, InvertibleModel, Latents
from nflows import transforms
from nflows.nn.nets import ResidualNet
from torch import Tensor, nn

from flowbench_peers.config import FlowConfig as FlowConfig

TAIL_BOUND = 5.0  # splines are the identity beyond; standardised data lie within


class SplineConfig(FlowConfig):
    """Configuration of a spline flow of nflows."""

    full_graph: ClassVar[bool] = False
    full_graph_reason: ClassVar[str] = "nflows asks of every batch whether it lies in the splines"


class NflowsFlow(InvertibleModel):
    """Layers of nflows with permutations between them; subclasses say which.

    Args:
        config: The configuration.
        data: Facts of the dataset.
    """

    config: FlowConfig

    def __init__(self, config: FlowConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        layers: list[nn.Module] = []
        for index in range(config.transforms):
            layers.append(transforms.ReversePermutation(data.num_dims))
            layers.append(self.layer(config, data.num_dims, index))
        self.transform: Any = transforms.CompositeTransform(layers)

    def layer(self, config: FlowConfig, num_dims: int, index: int) -> nn.Module:
        """One transformation of nflows."""
        raise NotImplementedError

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        """Maps data (B, D) to one latent."""
        z, ladj = self.transform(x)
        return (z,), ladj

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        """Maps the latent back to data."""
        x: Tensor = self.transform.inverse(latents[0])[0]
        return x


class NflowsMAF(NflowsFlow):
    """Affine autoregressive transformations."""

    def layer(self, config: FlowConfig, num_dims: int, index: int) -> nn.Module:
        """One transformation of nflows."""
        layer: nn.Module = transforms.MaskedAffineAutoregressiveTransform(
            num_dims, config.width, num_blocks=config.layers
        )
        return layer


class NflowsSplineAR(NflowsFlow):
    """Rational-quadratic splines, autoregressive."""

    def layer(self, config: FlowConfig, num_dims: int, index: int) -> nn.Module:
        """One transformation of nflows."""
        layer: nn.Module = transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
            num_dims,
            config.width,
            num_bins=config.bins,
            tails="linear",
            tail_bound=TAIL_BOUND,
            num_blocks=config.layers,
        )
        return layer


class NflowsSplineC(NflowsFlow):
    """Rational-quadratic splines, in couplings."""

    def layer(self, config: FlowConfig, num_dims: int, index: int) -> nn.Module:
        """One transformation of nflows."""

        def net(num_inputs: int, num_outputs: int) -> nn.Module:
            made: nn.Module = ResidualNet(
                num_inputs, num_outputs, config.width, num_blocks=config.layers
            )
            return made

        mask = torch.arange(num_dims) % 2
        layer: nn.Module = transforms.PiecewiseRationalQuadraticCouplingTransform(
            mask, net, num_bins=config.bins, tails="linear", tail_bound=TAIL_BOUND
        )
        return layer
