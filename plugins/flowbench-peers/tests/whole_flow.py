"""normflows' own composition of layers as a model, to show what the contract says of it."""

from __future__ import annotations

from typing import Any

import normflows as nf
from flowbench.api import Context, DatasetInfo, Latents, ModelSpec, hookimpl
from torch import Tensor

from flowbench_peers.config import FlowConfig as FlowConfig
from flowbench_peers.normflows_flows import NormflowsRealNVP

FLOWBENCH_API_VERSION = 2


class WholeFlow(NormflowsRealNVP):
    """The same layers, composed by `normflows.NormalizingFlow`."""

    def __init__(self, config: FlowConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        base = nf.distributions.DiagGaussian(data.num_dims, trainable=False)
        self.flow: Any = nf.NormalizingFlow(base, self.layers)

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        """Maps data (B, D) to one latent."""
        z, ladj = self.flow.inverse_and_log_det(x)
        return (z,), ladj


@hookimpl
def register_models() -> list[ModelSpec]:
    """The one model."""
    return [
        ModelSpec(
            name="whole-flow",
            model="whole_flow:WholeFlow",
            config="whole_flow:FlowConfig",
            modalities=frozenset({"vector"}),
            summary="RealNVP of normflows, composed by normflows",
        )
    ]
