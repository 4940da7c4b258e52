"""Vector flows of normflows, by its public API.

normflows calls latent -> data ``forward``; here it is its ``inverse`` that maps data to latent.

References:
    Stimper et al. (2023), normflows: A PyTorch Package for Normalizing Flows,
    https://arxiv.org/abs/2302.12014.
"""

from __future__ import annotations

from typing import Any, cast

import normflows as nf
from flowbench.api import Context, DatasetInfo, InvertibleModel, Latents
from torch import Tensor, nn

from flowbench_peers.config import FlowConfig as FlowConfig


class NormflowsFlow(InvertibleModel):
    """Layers of normflows; subclasses say which.

    Args:
        config: The configuration.
        data: Facts of the dataset.
    """

    config: FlowConfig

    def __init__(self, config: FlowConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.layers = nn.ModuleList(
            layer
            for index in range(config.transforms)
            for layer in self.block(config, data.num_dims, index)
        )

    def block(self, config: FlowConfig, num_dims: int, index: int) -> list[nn.Module]:
        """The layers of one transformation."""
        raise NotImplementedError

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        """Maps data (B, D) to one latent."""
        ladj = x.new_zeros(len(x))
        for layer in reversed(self.layers):
            x, layer_ladj = cast(Any, layer).inverse(x)
            ladj = ladj + layer_ladj
        return (x,), ladj

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        """Maps the latent back to data."""
        x = latents[0]
        for layer in self.layers:
            x, _ = layer(x)
        return x


class NormflowsRealNVP(NormflowsFlow):
    """Affine couplings between halves, and permutations."""

    def block(self, config: FlowConfig, num_dims: int, index: int) -> list[nn.Module]:
        """A coupling and a swap of the halves."""
        first = (num_dims + 1) // 2
        hidden = [config.width] * config.layers
        net = nf.nets.MLP([first, *hidden, 2 * (num_dims - first)], init_zeros=True)
        return [nf.flows.AffineCouplingBlock(net), nf.flows.Permute(num_dims, mode="swap")]


class NormflowsNSF(NormflowsFlow):
    """Rational-quadratic splines in couplings, and permutations by LU."""

    def block(self, config: FlowConfig, num_dims: int, index: int) -> list[nn.Module]:
        """A spline coupling and a linear map."""
        spline = nf.flows.CoupledRationalQuadraticSpline(
            num_dims, config.layers, config.width, num_bins=config.bins, tail_bound=5.0
        )
        return [spline, nf.flows.LULinearPermute(num_dims)]
