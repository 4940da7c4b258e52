"""The contracts of generative models.

    GenerativeModel            can be trained and sampled (a GAN stops here)
    └── DensityModel           has a log-density, exact or estimated
        └── InvertibleModel    maps data to latents and back

A model sees preprocessed values: the harness dequantizes, scales and adds those ladj. Log-densities
and ladj are in nats, of shape (B,), summed over event dims. ``to_latent`` maps data to latents.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from flowbench.api.config import ModelConfig, SampleSettings
from flowbench.api.specs import DatasetInfo
from flowbench.api.units import bits_per_dim
from flowbench.errors import ConfigError

Context = Mapping[str, Tensor]
"""Conditioning inputs by name, each of shape (B, *context_shape)."""

Latents = tuple[Tensor, ...]
"""All latents of a flow, or all its augmentation noise; each has the batch axis first."""

LOG_2PI = math.log(2.0 * math.pi)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A batch of preprocessed examples.

    Attributes:
        x: Values in the model's space, shape (B, *event_shape); int64 levels for a model of
            discrete support.
        context: Conditioning inputs by name, each (B, *context_shape).
        mask: True where a value counts, shape (B, *event_shape); None if all do.
    """

    x: Tensor
    context: Context = field(default_factory=dict)
    mask: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """Where training stands.

    Attributes:
        index: Optimizer steps done so far.
        progress: Part of the budget used, in [0, 1].
        phase: Index into the config's phases.
        group: The optimizer group that this loss is for.
        generator: Source of all the noise that the step needs, on the batch's device.
    """

    index: int
    progress: float
    phase: int
    group: str
    generator: torch.Generator


@dataclass(frozen=True, kw_only=True)
class Density:
    """The log-density of a batch.

    Attributes:
        values: Log-weight of each example for one draw of the noise involved, shape (B,), nats.
        info: Diagnostics by name; ``num_function_evaluations``, of a solver's vector field, is what
            the metric of that name reports.
    """

    values: Tensor
    info: Mapping[str, float] = field(default_factory=dict)


class GenerativeModel(nn.Module):
    """A model that can be trained and sampled.

    Args:
        config: The model's configuration.
        data: Facts of the dataset; the constructor sees no data, and runs on the meta device if it
            can: ``flowbench show`` then counts the parameters of any size without memory.
    """

    config: ModelConfig
    data: DatasetInfo

    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__()
        self.config = config
        self.data = data

    def initialize(self, batch: Batch) -> None:
        """Data-dependent initialisation, called once, before any training step.

        Args:
            batch: ``config.training.init_examples`` preprocessed training examples.
        """

    def optimizer_groups(self) -> dict[str, list[nn.Parameter]]:
        """The parameters of each optimizer, in the order in which they step.

        Returns:
            Parameters by group name; by default one group. A model without any is fitted by
            ``initialize`` alone.
        """
        parameters = [p for p in self.parameters() if p.requires_grad]
        return {"all": parameters} if parameters else {}

    def loss(self, batch: Batch, step: Step) -> Tensor:
        """The scalar that ``step.group`` minimises.

        Args:
            batch: Preprocessed training examples.
            step: Where training stands.

        Returns:
            The loss, shape ().
        """
        raise NotImplementedError

    def after_step(self, step: Step) -> None:
        """Called after each optimizer step, e.g. to project weights.

        Args:
            step: Where training stands.
        """

    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SampleSettings,
        generator: torch.Generator,
    ) -> Tensor:
        """Draws samples in the model's space.

        Args:
            num: Number B of samples.
            context: Conditioning inputs, each (B, *context_shape).
            settings: Temperature and the like.
            generator: Source of all noise, on the model's device.

        Returns:
            Samples, shape (B, *event_shape).
        """
        raise NotImplementedError


class DensityModel(GenerativeModel):
    """A model with a log-density."""

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: torch.Generator | None = None
    ) -> Density:
        """Log-weight of each example, for one draw of whatever noise is involved.

        Args:
            x: Values in the model's space, shape (B, *event_shape).
            context: Conditioning inputs; None evaluates the unconditional density.
            generator: Source of all noise.

        Returns:
            Log-weights of shape (B,), in nats, summed over event dims.
        """
        raise NotImplementedError

    def loss(self, batch: Batch, step: Step) -> Tensor:
        """Mean negative log-weight in bits per dimension of the model's space.

        Args:
            batch: Preprocessed training examples.
            step: Where training stands.

        Returns:
            The loss, shape ().
        """
        density = self.log_prob(batch.x, batch.context or None, generator=step.generator)
        return bits_per_dim(density.values, self.data.num_dims).mean()


class InvertibleModel(DensityModel):
    r"""A flow: :math:`\log p(x) = \log p(z) + \mathrm{ladj}`, through *all* its latents.

    Latents are those of the base distribution: a multi-scale flow returns one tensor a scale and
    puts the scaling of conditional split priors into ladj, so that every latent is standard normal
    (or whatever ``base_log_prob`` says). An augmented flow draws explicit noise in ``sample_aux``
    and maps (x, aux) to latents; its ladj is that of the joint map.
    """

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Event shape of each latent.

        Returns:
            By default one latent of the data's event shape.
        """
        return (self.data.event_shape,)

    def sample_aux(self, x: Tensor, *, generator: torch.Generator | None) -> Latents | None:
        """Draws the standard normal noise with which an augmented flow extends its data.

        Args:
            x: The batch to extend, shape (B, *event_shape).
            generator: Source of the noise.

        Returns:
            The noise, or None for a flow without augmentation.
        """
        del x, generator
        return None

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        """Maps data to latents.

        Args:
            x: Values in the model's space, shape (B, *event_shape).
            context: Conditioning inputs.
            aux: Explicit augmentation noise from ``sample_aux``.

        Returns:
            All latents, and ladj of shape (B,), in nats.
        """
        raise NotImplementedError

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        """Maps latents back to data.

        Args:
            latents: All latents.
            context: Conditioning inputs.

        Returns:
            x, shape (B, *event_shape).
        """
        raise NotImplementedError

    def base_log_prob(self, latents: Latents) -> Tensor:
        """Log-density of the base distribution, by default standard normal.

        Args:
            latents: All latents.

        Returns:
            Log-density, shape (B,), in nats.
        """
        return standard_normal_log_prob(latents)

    def sample_base(
        self, num: int, *, temperature: float, generator: torch.Generator, device: torch.device
    ) -> Latents:
        """Draws latents from the base distribution, by default standard normal.

        Args:
            num: Number B of draws.
            temperature: Scale of the noise.
            generator: Source of the noise.
            device: Where to draw.

        Returns:
            One tensor for each of ``latent_shapes``, in the dtype of the model's parameters.
        """
        tensors = itertools.chain(self.parameters(), self.buffers())
        dtype = next((t.dtype for t in tensors if t.is_floating_point()), None)
        return tuple(
            temperature * torch.randn(num, *shape, generator=generator, device=device, dtype=dtype)
            for shape in self.latent_shapes()
        )

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: torch.Generator | None = None
    ) -> Density:
        """Base log-density plus ladj, less the log-density of the augmentation noise.

        Args:
            x: Values in the model's space, shape (B, *event_shape).
            context: Conditioning inputs.
            generator: Source of the augmentation noise.

        Returns:
            Log-weights of shape (B,), in nats.
        """
        aux = self.sample_aux(x, generator=generator)
        latents, ladj = self.to_latent(x, context, aux=aux)
        values = self.base_log_prob(latents) + ladj
        return Density(values=values if aux is None else values - standard_normal_log_prob(aux))

    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SampleSettings,
        generator: torch.Generator,
    ) -> Tensor:
        """Draws latents and maps them to data.

        Args:
            num: Number B of samples.
            context: Conditioning inputs.
            settings: The temperature scales the base noise; other options are refused.
            generator: Source of the noise.

        Returns:
            Samples, shape (B, *event_shape).
        """
        refuse_options(settings)
        latents = self.sample_base(
            num, temperature=settings.temperature, generator=generator, device=generator.device
        )
        return self.from_latent(latents, context)


def standard_normal_log_prob(tensors: Sequence[Tensor]) -> Tensor:
    r"""Log-density :math:`\sum_i \log N(z_i; 0, 1)` over all event dims of all tensors.

    Args:
        tensors: Tensors that share their batch axis.

    Returns:
        Log-density, shape (B,), in nats.
    """
    num_dims = sum(z[0].numel() for z in tensors)
    # Summed axis by axis: flattening a channels-last latent would copy it.
    squares = [z.square().sum(dim=tuple(range(1, z.ndim))) for z in tensors]
    return -0.5 * (torch.stack(squares).sum(dim=0) + num_dims * LOG_2PI)


def refuse_options(settings: SampleSettings, *known: str) -> None:
    """Refuses sampling options that a model does not know.

    Args:
        settings: The settings that were given.
        known: Options that the model does know.

    Raises:
        ConfigError: There is another option.
    """
    unknown = sorted(set(settings.options) - set(known))
    if unknown:
        valid = ", ".join(("temperature", *known))
        raise ConfigError(f"unknown sampling option {unknown[0]!r}; this model knows: {valid}")
