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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from flowbench.api.config import ModelConfig
from flowbench.api.protocol import SamplingOptions
from flowbench.api.specs import DatasetInfo
from flowbench.api.units import bits_per_dim
from flowbench.errors import ConfigError

Context = Mapping[str, Tensor]
"""Conditioning inputs by name, each of shape (B, *context_shape)."""

Latents = tuple[Tensor, ...]
"""All latents of a flow, or all its augmentation noise; each has the batch axis first."""

LOG_2PI = math.log(2.0 * math.pi)
FIRST_WEIGHT = 0.01  # of a target's log-density: with none at all, nothing keeps samples together


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A batch of preprocessed examples.

    Attributes:
        x: Values in the model's space, shape (B, *event_shape); int64 levels for a model of
            discrete support.
        context: Conditioning inputs by name, each (B, *context_shape).
        log_density: Log-density of a target, up to a constant, of values in the model's space: from
            (B, *event_shape) to (B,), in nats, differentiable. ``x`` are then points to start from
            and no examples. None for data.

    Example:
        >>> Batch(x=torch.zeros(8, 2), context={"label": torch.zeros(8, dtype=torch.int64)}).x.shape
        torch.Size([8, 2])
    """

    x: Tensor
    context: Context = field(default_factory=dict)
    log_density: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """Where training stands.

    Attributes:
        progress: Part of the budget used, in [0, 1]; shape (), on the batch's device, so that a
            compiled loss is not compiled anew as it moves.
        phase: Index into the config's phases.
        group: The optimizer group that this loss is for.
        generator: Source of all the noise that the step needs, on the batch's device; None means
            the device's default generator, which the harness has seeded.
        seed: A seed for draws on the host (a random series' length), another one for each step.

    Example:
        >>> step = Step(progress=torch.tensor(0.5), phase=0, group="all", generator=None, seed=7)
        >>> 1.0 - step.progress  # a tensor: what depends on it is not frozen by compiling
        tensor(0.5000)
    """

    progress: Tensor
    phase: int
    group: str
    generator: torch.Generator | None
    seed: int


Info = Mapping[str, Tensor]
"""Diagnostics by name, each of shape () or (B,), e.g. ``num_function_evaluations`` of a solver.

Their means are kept: of ``loss`` with the learning curve, of ``log_prob`` on test data as
measurements ``info/<name>``, of ``sample`` as ``info/sample/<name>``.
"""

WithInfo = Tensor | tuple[Tensor, Info]
"""What ``loss``, ``log_prob`` and ``sample`` return: a tensor, or a tensor and diagnostics."""


def split_info(returned: WithInfo) -> tuple[Tensor, Info]:
    """Takes apart what ``loss``, ``log_prob`` or ``sample`` returned.

    Args:
        returned: A tensor, or a tensor and its diagnostics.

    Returns:
        The tensor, and the diagnostics; empty where there are none.

    Example:
        >>> split_info(torch.tensor([1.0]))
        (tensor([1.]), {})
        >>> split_info((torch.tensor([1.0]), {"num_function_evaluations": torch.tensor(26.0)}))[1]
        {'num_function_evaluations': tensor(26.)}
    """
    return (returned, {}) if isinstance(returned, Tensor) else returned


@dataclass(frozen=True, kw_only=True)
class PhaseStart:
    """What a model is given at the start of a phase of its training.

    Attributes:
        phase: Index into the config's phases.
        averaged: The model with averaged weights, in eval mode; None where no average is kept, and
            before the first step.
        batches: An endless stream of preprocessed training batches.
        generator: Source of all noise, on the model's device.
        tick: To be called between pieces of long work; may raise to stop. All of it is charged to
            the budget.

    Example:
        >>> noise = torch.Generator()
        >>> start = PhaseStart(
        ...     phase=1, averaged=None, batches=iter(()), generator=noise, tick=lambda: None
        ... )
        >>> start.phase
        1
    """

    phase: int
    averaged: GenerativeModel | None
    batches: Iterator[Batch]
    generator: torch.Generator
    tick: Callable[[], None]


class GenerativeModel(nn.Module):
    """A model that can be trained and sampled.

    Args:
        config: The model's configuration.
        data: Facts of the dataset; the constructor sees no data, and runs on the meta device if it
            can: ``flowbench show`` then counts the parameters of any size without memory.

    Raises:
        ConfigError: The configuration does not fit the data; ``config.unsupported`` says why.

    Example:
        >>> class Noise(GenerativeModel):  # what a GAN's generator is, without the network
        ...     def sample(self, num, context=None, *, settings, generator):
        ...         return settings.temperature * torch.randn(num, 2, generator=generator)
        >>> data = DatasetInfo(
        ...     name="ring", modality="vector", event_shape=(2,), levels=None,
        ...     num_train=3600, num_validation=400, num_test=1000,
        ... )
        >>> model = Noise(ModelConfig(), data)
        >>> model.sample(3, settings=SamplingOptions(), generator=torch.Generator()).shape
        torch.Size([3, 2])
    """

    config: ModelConfig
    data: DatasetInfo

    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__()
        # Here as well as in planning: `flowbench.load`, tests and notebooks build models without a
        # plan.
        reason = config.unsupported(data)
        if reason is not None:
            raise ConfigError(reason)
        self.config = config
        self.data = data

    def initialize(self, batch: Batch, *, generator: torch.Generator) -> None:
        """Data-dependent initialisation, called once, before any training step.

        Args:
            batch: ``config.training.init_examples`` preprocessed training examples.
            generator: Source of all noise, on the batch's device.
        """

    def refit(self, batches: Iterable[Batch], *, generator: torch.Generator) -> None:
        """Makes what is estimated from data fit the present weights, raw or averaged.

        Called before weights are scored or kept, without gradients. The default re-estimates the
        statistics of batch-norm layers as plain averages over the batches. A model with other state
        of that kind (buffers of a power iteration, statistics of the whole training set) overrides
        it. Parameters stay as they are: the harness checks it.

        Args:
            batches: Preprocessed training examples.
            generator: Source of all noise, on the batches' device.
        """
        norms = [module for module in self.modules() if isinstance(module, _BatchNorm)]
        groups = tuple(self.optimizer_groups())
        # A model without either has nothing to refit, and one without groups has no loss to call.
        if not norms or not groups:
            return
        was_training, momenta = self.training, [norm.momentum for norm in norms]
        # All but the norms: dropout would make their statistics those of other activations.
        self.eval()
        for norm in norms:
            # What the raw weights left behind must not be averaged in.
            norm.reset_running_stats()
            norm.momentum = None  # a plain average over the batches
            norm.train()
        for batch in batches:
            progress = torch.zeros((), device=batch.x.device)
            for group in groups:  # a layer may be reached by the loss of one group alone
                step = Step(progress=progress, phase=0, group=group, generator=generator, seed=0)
                self.loss(batch, step)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        self.train(was_training)

    def optimizer_groups(self) -> dict[str, list[nn.Parameter]]:
        """The parameters of each optimizer, in the order in which they step.

        Returns:
            Parameters by group name; by default one group. A model without any is fitted by
            ``initialize`` alone.
        """
        parameters = [p for p in self.parameters() if p.requires_grad]
        return {"all": parameters} if parameters else {}

    def num_parameters(self) -> int:
        """Trainable parameters that are needed to evaluate and to sample.

        Returns:
            By default all that need a gradient.
        """
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def num_parameters_training(self) -> int:
        """Trainable parameters in training, with those of networks that are needed there alone.

        Returns:
            By default the same as `num_parameters`.
        """
        return self.num_parameters()

    def loss(self, batch: Batch, step: Step) -> WithInfo:
        """The scalar that ``step.group`` minimises.

        Args:
            batch: Preprocessed training examples.
            step: Where training stands.

        Returns:
            The loss, shape (). Diagnostics beside it are not kept yet, and so refused.
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
        settings: SamplingOptions,
        generator: torch.Generator,
    ) -> WithInfo:
        """Draws samples in the model's space.

        Args:
            num: Number B of samples.
            context: Conditioning inputs, each (B, *context_shape).
            settings: Temperature and the like, of the class that ``config.sampling`` names.
            generator: Source of all noise, on the model's device.

        Returns:
            Samples, shape (B, *event_shape). Diagnostics beside them are not kept yet, and so
            refused.
        """
        raise NotImplementedError

    def begin_phase(self, start: PhaseStart) -> None:
        """Called once at the start of each phase, in eval mode and without gradients.

        A model that trains on data of its own makes them here; its time is charged. An interrupted
        call is begun anew, with the same generator and batches.

        Args:
            start: The phase, its data and a seeded generator.
        """

    def training_state(self) -> dict[str, Any]:
        """State of training that belongs into a checkpoint and never into the kept weights.

        Returns:
            Tensors and plain data.
        """
        return {}

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Takes up what `training_state` returned.

        Args:
            state: Its tensors are on the CPU.
        """


class DensityModel(GenerativeModel):
    """A model with a log-density.

    Example:
        >>> class StandardNormal(DensityModel):
        ...     def log_prob(self, x, context=None, *, generator=None):
        ...         return standard_normal_log_prob((x,))
        >>> data = DatasetInfo(
        ...     name="ring", modality="vector", event_shape=(2,), levels=None,
        ...     num_train=3600, num_validation=400, num_test=1000,
        ... )
        >>> StandardNormal(ModelConfig(), data).log_prob(torch.zeros(1, 2))  # -ln(2 pi)
        tensor([-1.8379])
    """

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: torch.Generator | None = None
    ) -> WithInfo:
        """Log-weight of each example, for one draw of whatever noise is involved.

        Args:
            x: Values in the model's space, shape (B, *event_shape).
            context: Conditioning inputs; None evaluates the unconditional density.
            generator: Source of all noise.

        Returns:
            Log-weights of shape (B,), in nats, summed over event dims; where there are any, with
            diagnostics.
        """
        raise NotImplementedError

    def loss(self, batch: Batch, step: Step) -> WithInfo:
        """Mean negative log-weight in bits per dimension of the model's space.

        Args:
            batch: Preprocessed training examples.
            step: Where training stands.

        Returns:
            The loss, shape ().
        """
        returned = self.log_prob(batch.x, batch.context or None, generator=step.generator)
        log_prob, _ = split_info(returned)
        # In bits per dimension, so that `clip_norm` means the same for data of few and of many
        # dims; those of the batch, whose segments may have another length than the dataset's.
        return bits_per_dim(log_prob, math.prod(batch.x.shape[1:])).mean()


class InvertibleModel(DensityModel):
    r"""A flow: :math:`\log p(x) = \log p(z) + \mathrm{ladj}`, through *all* its latents.

    Latents are those of the base distribution: a multi-scale flow returns one tensor a scale and
    puts the scaling of conditional split priors into ladj, so that every latent is standard normal
    (or whatever ``base_log_prob`` says). An augmented flow draws explicit noise in ``sample_aux``
    and maps (x, aux) to latents; its ladj is that of the joint map.

    Example:
        >>> class Doubled(InvertibleModel):
        ...     def to_latent(self, x, context=None, *, aux=None):
        ...         return (2 * x,), x.new_full((len(x),), 2 * math.log(2))
        ...
        ...     def from_latent(self, latents, context=None):
        ...         return latents[0] / 2
        >>> data = DatasetInfo(
        ...     name="ring", modality="vector", event_shape=(2,), levels=None,
        ...     num_train=3600, num_validation=400, num_test=1000,
        ... )
        >>> Doubled(ModelConfig(), data).log_prob(torch.zeros(1, 2))  # ln(4) - ln(2 pi)
        tensor([-0.4516])
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
            generator: On the device of x; None draws from torch's global one.

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
            context: By name, each (B, ...); None for a density that is given nothing.
            aux: Explicit augmentation noise from ``sample_aux``.

        Returns:
            All latents, and ladj of shape (B,), in nats.
        """
        raise NotImplementedError

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        """Maps latents back to data.

        Args:
            latents: One tensor (B, *shape) for each of ``latent_shapes``.
            context: By name, each (B, ...); None for a density that is given nothing.

        Returns:
            x, shape (B, *event_shape).
        """
        raise NotImplementedError

    def from_latent_with_ladj(
        self, latents: Latents, context: Context | None = None
    ) -> tuple[Tensor, Tensor]:
        """Maps latents back to data, with the ladj of ``to_latent`` there.

        A flow that knows it on the way back overrides this: by default it goes back and forth.

        Args:
            latents: One tensor (B, *shape) for each of ``latent_shapes``.
            context: By name, each (B, ...); None for a density that is given nothing.

        Returns:
            x, shape (B, *event_shape), and ladj = log |det dz/dx|, shape (B,), in nats.
        """
        x = self.from_latent(latents, context)
        return x, self.to_latent(x, context)[1]

    def loss(self, batch: Batch, step: Step) -> WithInfo:
        r"""As for any density; where there is a target, the divergence from it.

        The mean over draws of the model's own of :math:`\log q(x) - w \log \tilde p(x)`, in bits
        per dimension: at a weight w of 1 the reverse Kullback-Leibler divergence less the unknown
        log-normaliser. ``config.training.anneal`` says how w grows to 1.

        Args:
            batch: Preprocessed training examples, or a target and as many points as to draw.
            step: Where training stands.

        Returns:
            The loss, shape ().

        References:
            Rezende and Mohamed (2015), Variational Inference with Normalizing Flows,
            https://arxiv.org/abs/1505.05770, eq. 15 and 20.
        """
        if batch.log_density is None:
            return super().loss(batch, step)
        latents = self.sample_base(
            len(batch.x), temperature=1.0, generator=step.generator, device=batch.x.device
        )
        x, ladj = self.from_latent_with_ladj(latents, batch.context or None)
        log_q = self.base_log_prob(latents) + ladj
        anneal = self.config.training.anneal
        grown = (step.progress / anneal).clamp(max=1.0) if anneal else 1.0
        weight = FIRST_WEIGHT + (1.0 - FIRST_WEIGHT) * grown
        return bits_per_dim(weight * batch.log_density(x) - log_q, self.data.num_dims).mean()

    def base_log_prob(self, latents: Latents) -> Tensor:
        """Log-density of the base distribution, by default standard normal.

        Returns:
            Log-density, shape (B,), in nats.
        """
        return standard_normal_log_prob(latents)

    def sample_base(
        self,
        num: int,
        *,
        temperature: float,
        generator: torch.Generator | None,
        device: torch.device,
    ) -> Latents:
        """Draws latents from the base distribution, by default standard normal.

        Args:
            num: Number B of draws.
            temperature: Factor on the draws; 1 draws from the base density itself.
            generator: On ``device``; None draws from torch's global one.
            device: Of the latents.

        Returns:
            One tensor for each of ``latent_shapes``, in the dtype of the model's parameters.
        """
        tensors = itertools.chain(self.parameters(), self.buffers())
        # That of the weights, since a check in float64 has a model in float64 and torch's default
        # in float32. Buffers count too: a model of none but fixed maps has no parameters.
        dtype = next((t.dtype for t in tensors if t.is_floating_point()), None)
        return tuple(
            temperature * torch.randn(num, *shape, generator=generator, device=device, dtype=dtype)
            for shape in self.latent_shapes()
        )

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: torch.Generator | None = None
    ) -> WithInfo:
        """Base log-density plus ladj, less the log-density of the augmentation noise.

        Args:
            x: Values in the model's space, shape (B, *event_shape).
            context: By name, each (B, ...); None for a density that is given nothing.
            generator: Source of the augmentation noise.

        Returns:
            Log-weights of shape (B,), in nats.
        """
        aux = self.sample_aux(x, generator=generator)
        latents, ladj = self.to_latent(x, context, aux=aux)
        values = self.base_log_prob(latents) + ladj
        # The joint density is of data and noise; divided by that of the noise it is a weight of the
        # data.
        return values if aux is None else values - standard_normal_log_prob(aux)

    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: torch.Generator,
    ) -> WithInfo:
        """Draws latents and maps them to data.

        Args:
            num: Number B of samples.
            context: By name, each (B, ...); None for a density that is given nothing.
            settings: The temperature scales the base noise.
            generator: Its device is that of the samples.

        Returns:
            Samples, shape (B, *event_shape).
        """
        latents = self.sample_base(
            num, temperature=settings.temperature, generator=generator, device=generator.device
        )
        return self.from_latent(latents, context)


def standard_normal_log_prob(tensors: Tensor | Sequence[Tensor]) -> Tensor:
    r"""Log-density :math:`\sum_i \log N(z_i; 0, 1)` over all event dims of all tensors.

    Args:
        tensors: Tensors that share their batch axis, or one.

    Returns:
        Log-density, shape (B,), in nats.

    Example:
        >>> standard_normal_log_prob((torch.zeros(2, 3), torch.zeros(2, 1)))  # -4 ln(2 pi) / 2
        tensor([-3.6758, -3.6758])
    """
    if isinstance(tensors, Tensor):  # whose rows would pass for tensors
        tensors = (tensors,)
    num_dims = sum(z[0].numel() for z in tensors)
    # Summed axis by axis: flattening a channels-last latent would copy it.
    squares = [z.square().sum(dim=tuple(range(1, z.ndim))) for z in tensors]
    return -0.5 * (torch.stack(squares).sum(dim=0) + num_dims * LOG_2PI)
