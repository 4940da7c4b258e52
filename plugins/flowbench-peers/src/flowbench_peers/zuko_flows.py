"""Flows of zuko, by its public API.

References:
    Rozet et al., Zuko: Normalizing flows in PyTorch, https://github.com/probabilists/zuko.
"""

from __future__ import annotations

from typing import Any, ClassVar

import zuko
from flowbench.api import Context, DatasetInfo, InvertibleModel, Latents, Likelihood
from torch import Tensor, nn

from flowbench_peers.config import FlowConfig


class ZukoConfig(FlowConfig):
    """Configuration of a flow of zuko."""

    full_graph: ClassVar[bool] = False
    full_graph_reason: ClassVar[str] = "zuko makes objects of torch.distributions in every pass"


class ZukoFlow(InvertibleModel):
    """A zuko flow with a standard normal base; subclasses say which.

    Args:
        config: The configuration.
        data: Facts of the dataset.
    """

    config: FlowConfig

    def __init__(self, config: FlowConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.flow = self.build(config, data.num_dims)

    def build(self, config: FlowConfig, num_dims: int) -> nn.Module:
        """The lazy flow of zuko."""
        raise NotImplementedError

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        """Maps data (B, D) to one latent."""
        z, ladj = self._transform().call_and_ladj(x)
        return (z,), ladj

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        """Maps the latent back to data."""
        x: Tensor = self._transform().inv(latents[0])
        return x

    def _transform(self) -> Any:
        return self.flow().transform


def _sizes(config: FlowConfig) -> dict[str, Any]:
    return {
        "transforms": config.transforms,
        "hidden_features": (config.width,) * config.layers,
    }


class ZukoNICE(ZukoFlow):
    """Couplings; zuko's are affine."""

    def build(self, config: FlowConfig, num_dims: int) -> nn.Module:
        """The lazy flow of zuko."""
        flow: nn.Module = zuko.flows.NICE(num_dims, **_sizes(config))
        return flow


class ZukoMAF(ZukoFlow):
    """Affine autoregressive transformations."""

    def build(self, config: FlowConfig, num_dims: int) -> nn.Module:
        """The lazy flow of zuko."""
        flow: nn.Module = zuko.flows.MAF(num_dims, **_sizes(config))
        return flow


class ZukoNSF(ZukoFlow):
    """Rational-quadratic splines, autoregressive."""

    def build(self, config: FlowConfig, num_dims: int) -> nn.Module:
        """The lazy flow of zuko."""
        flow: nn.Module = zuko.flows.NSF(num_dims, bins=config.bins, **_sizes(config))
        return flow


class ZukoGF(ZukoFlow):
    """Rotations and mixtures of Gaussians."""

    def build(self, config: FlowConfig, num_dims: int) -> nn.Module:
        """The lazy flow of zuko."""
        flow: nn.Module = zuko.flows.GF(num_dims, **_sizes(config))
        return flow


TOLERANCE = 1e-5  # relative, the default of zuko's adaptive solver


class ContinuousConfig(ZukoConfig):
    """Configuration of the continuous flow, whose likelihood is a solver's."""

    full_graph_reason: ClassVar[str] = "the steps of zuko's solver depend on its values"

    def likelihood(self, data: DatasetInfo) -> Likelihood:
        """Exact up to the tolerance of the solver."""
        return Likelihood(measure="continuous", tolerance=TOLERANCE)


class ZukoCNF(ZukoFlow):
    """A neural ordinary differential equation with the exact trace."""

    def build(self, config: FlowConfig, num_dims: int) -> nn.Module:
        """The lazy flow of zuko."""
        hidden = (config.width,) * config.layers
        flow: nn.Module = zuko.flows.CNF(num_dims, exact=True, hidden_features=hidden)
        return flow
