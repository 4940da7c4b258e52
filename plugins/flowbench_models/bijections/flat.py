"""Flows over flat vectors, which may be conditioned on labels or real values."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from flowbench.api import Batch, ConfigError, Context, DatasetInfo, InvertibleModel, Latents
from flowbench_models.bijections.base import Composition
from flowbench_models.defaults import ConditionalConfig


class FlatModel(InvertibleModel):
    """A flow from flattened examples to one flat latent.

    Attributes:
        flow: The flow, set by the subclass.
        num_context: Numbers that an example is conditioned on; 0 for none.
    """

    config: ConditionalConfig
    flow: Composition

    def __init__(self, config: ConditionalConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        inputs = [data.context[name] for name in config.given]
        self.num_context = sum(
            torch.Size(given.shape).numel() * (given.num_classes or 1) for given in inputs
        )

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One flat latent."""
        return ((self.data.num_dims,),)

    def initialize(self, batch: Batch, *, generator: torch.Generator) -> None:
        """Initialises layer by layer from a first batch."""
        with torch.no_grad():
            self.flow.initialize(batch.x.flatten(1), self.encoded(batch.context, batch.x))

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        """Maps data (B, *event_shape) to one latent (B, D); see `InvertibleModel.to_latent`."""
        z, ladj = self.flow(x.flatten(1), self.encoded(context, x))
        return (z,), ladj

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        """Maps the latent (B, D) to data (B, *event_shape)."""
        x = self.flow.inverse(latents[0], self.encoded(context, latents[0]))
        return x.view(-1, *self.data.event_shape)

    def from_latent_with_ladj(
        self, latents: Latents, context: Context | None = None
    ) -> tuple[Tensor, Tensor]:
        """The same, with ladj; see `InvertibleModel.from_latent_with_ladj`."""
        x, ladj = self.flow.inverse_with_ladj(latents[0], self.encoded(context, latents[0]))
        return x.view(-1, *self.data.event_shape), ladj

    def encoded(self, context: Context | None, like: Tensor) -> Tensor | None:
        """What examples are conditioned on as one vector each: classes one-hot, values as they are.

        Args:
            context: Conditioning inputs, each (B, *context_shape); others than ``given`` are left.
            like: A tensor of the dtype and device that the vectors are to have.

        Returns:
            Shape (B, num_context); None for a density that is conditioned on nothing.

        Raises:
            ConfigError: An input is missing.
        """
        parts = []
        for name in self.config.given:
            if context is None or name not in context:
                raise ConfigError(
                    f"the density is given {', '.join(self.config.given)}, and the context has no "
                    f"{name!r}; pass context={{{name!r}: ...}}"
                )
            values, num_classes = context[name], self.data.context[name].num_classes
            if num_classes is not None:
                values = F.one_hot(values, num_classes)
            parts.append(values.flatten(1).to(like.dtype))
        return torch.cat(parts, dim=1) if parts else None
