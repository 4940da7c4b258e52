"""Models, each broken in one way, and the one check that must catch it; a plugin file.

What each mutant does wrong is what authors of flows do wrong: every one of these errors has been
published or released at least once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from flowbench.api import (
    Batch,
    Context,
    DatasetInfo,
    Latents,
    Likelihood,
    ModelConfig,
    ModelSpec,
    PhaseStart,
    Preset,
    SamplingOptions,
    Step,
    hookimpl,
)
from flowbench.api.specs import Modality
from tests.contract.sound_models import (
    Augmented,
    AugmentedConfig,
    Categorical,
    CategoricalConfig,
    Flow,
    FlowConfig,
    Hutchinson,
    HutchinsonConfig,
    LatentConfig,
    LatentVariable,
    LearnsConfig,
    Normal,
    SplitFlow,
    Staged,
    StagedConfig,
    couplings,
    first_linear,
    spec,
    values,
)

FLOWBENCH_API_VERSION = 2
INTENDED: dict[str, str] = {}
SPECS: list[ModelSpec] = []
ClassT = TypeVar("ClassT", bound=type)


def mutant(
    check: str, config: type = FlowConfig, *modalities: Modality
) -> Callable[[ClassT], ClassT]:
    """Registers a class as a mutant that one check must catch."""

    def register(cls: ClassT) -> ClassT:
        name = "mutant-" + "".join(f"-{c.lower()}" if c.isupper() else c for c in cls.__name__)[1:]
        INTENDED[name] = check
        SPECS.append(spec(name, cls, config, *modalities))
        return cls

    return register


# --- the log-determinant --------------------------------------------------------------------------


@mutant("jacobian")
class LadjSignFlipped(Flow):
    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        latents, ladj = super().to_latent(x)
        return latents, -ladj


@mutant("jacobian")
class LadjAveraged(Flow):
    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        latents, ladj = super().to_latent(x)
        return latents, ladj / self.data.num_dims


@mutant("jacobian")
class SquashWithoutItsJacobian(Flow):
    """An asinh in front of the flow, as a logit might be, of which ladj knows nothing."""

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        return super().to_latent(torch.asinh(x))

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        return torch.sinh(super().from_latent(latents))


@mutant("jacobian")
class LadjMissingInOneBranch(Flow):
    """Beyond 3 the first value is stretched, and no example of the data lies there."""

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        return super().to_latent(self._from(x, 2.0))

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        return self._from(super().from_latent(latents), 0.5)

    @staticmethod
    def _from(x: Tensor, factor: float) -> Tensor:
        first = torch.zeros_like(x)
        first.flatten(1)[:, 0] = 1.0
        return x + first * (factor - 1.0) * (x - 3.0).clamp_min(0.0)


@mutant("jacobian")
class LadjOffByOnePercent(Flow):
    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        latents, ladj = super().to_latent(x)
        return latents, ladj + math.log(1.01)


@mutant("jacobian")
class SplitPriorMissingFromLadj(SplitFlow):
    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        latents, ladj = super().to_latent(x)
        return latents, ladj - torch.tanh(self.prior(latents[0])).sum(1)


@mutant("jacobian", HutchinsonConfig)
class HutchinsonWithUniformNoise(Hutchinson):
    """Rademacher or normal noise has unit variance; this has a twelfth."""

    def estimate(self, x: Tensor, generator: Generator | None) -> Tensor:
        e = torch.rand(x.flatten(1).shape, generator=generator, dtype=x.dtype) - 0.5
        return ((e @ self.matrix) * e).sum(1)


# --- the composition of the likelihood ------------------------------------------------------------


@mutant("log_prob")
class PriorCountedTwice(Flow):
    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        latents, ladj = self.to_latent(x)
        return 2 * self.base_log_prob(latents) + ladj


@mutant("log_prob", AugmentedConfig)
class AugmentationEntropyLeftOut(Augmented):
    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        aux = self.sample_aux(x, generator=generator)
        latents, ladj = self.to_latent(x, aux=aux)
        return self.base_log_prob(latents) + ladj


@mutant("base")
class BaseWithoutItsConstant(Flow):
    def base_log_prob(self, latents: Latents) -> Tensor:
        return -0.5 * latents[0].square().sum(1)


@mutant("base")
class BaseWithTheConstantOfTwoDims(Flow):
    """Right on every 2-D set, by e^2.76 = 16 too large in five dims."""

    def base_log_prob(self, latents: Latents) -> Tensor:
        return -0.5 * latents[0].square().sum(1) - math.log(2 * math.pi)


@mutant("mass", LearnsConfig)
class OffByOnePercent(Normal):
    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        return super().log_prob(x) + math.log(1.01)


@mutant("mass", LearnsConfig)
class OffByOneNat(Normal):
    """Its mass is 2.72."""

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        return super().log_prob(x) + 1.0


@mutant("mass", LearnsConfig)
class ScaleOfTheWrongSign(Normal):
    """As a ladj of the wrong sign, in a density that has no latents to hold it against."""

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        return super().log_prob(x) + 2 * self.log_std.sum()


@mutant("mass", LearnsConfig)
class ConstantOfTwoDims(Normal):
    """Right in two dims, wrong in one."""

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        others = self.data.num_dims - 2
        return super().log_prob(x) + 0.5 * others * math.log(2 * math.pi)


# --- what the likelihood claims to be -------------------------------------------------------------


class ExactConfig(LatentConfig):
    def likelihood(self, data: DatasetInfo) -> Likelihood:
        return Likelihood(measure="continuous")


@mutant("likelihood_kind", ExactConfig)
class StochasticBoundLabelledExact(LatentVariable):
    pass


@mutant("mass", ExactConfig)
class BoundLabelledExact(LatentVariable):
    """The evidence lower bound in closed form: no noise gives it away, only its mass."""

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        centred = x - self.mean
        num_dims = self.data.num_dims
        square = (centred.square() / 2 + 2 * self.spread**2).flatten(1).sum(1)
        joint = -square - num_dims * math.log(math.pi)
        entropy = num_dims * (math.log(self.spread) + 0.5 * math.log(2 * math.pi * math.e))
        return joint + entropy


@mutant("mass", LatentConfig)
class ProposalLeftOut(LatentVariable):
    """An importance weight that is not divided by its proposal: above any true likelihood."""

    def proposal(self, noise: Tensor) -> Tensor:
        return super().proposal(noise) - 1.0


@mutant("sampling", LatentConfig)
class WeightsTooSmall(LatentVariable):
    """A bound, but not one whose weights average to the likelihood: most of the mass is nowhere."""

    def proposal(self, noise: Tensor) -> Tensor:
        return super().proposal(noise) + 1.0


class UndequantizedConfig(FlowConfig):
    presets: ClassVar = {"image": Preset(summary="a density of integers, called a probability")}

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        return "image"


@mutant("likelihood_kind", UndequantizedConfig, "image")
class DensityOfIntegers(Flow):
    pass


@mutant("likelihood_kind")
class DropoutInEvalMode(Flow):
    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        shift = F.dropout(torch.ones_like(x), 0.1)
        latents, ladj = super().to_latent(x)
        return (latents[0] + 0.1 * shift.flatten(1),), ladj


# --- inverse and samples --------------------------------------------------------------------------


@mutant("round_trip")
class SplitPriorIgnoredInInverse(SplitFlow):
    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        return Flow.from_latent(self, (torch.cat(latents, dim=1),))


@mutant("round_trip")
class LayersNotReversed(Flow):
    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        x = latents[0]
        for layer in couplings(self.layers):
            x = layer.inverse(x)
        return (x + self.mean).view(-1, *self.data.event_shape)


@mutant("determinism")
class SamplerIgnoresItsSeed(Flow):
    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: Generator,
    ) -> Tensor:
        return values(super().sample(num, settings=settings, generator=Generator().manual_seed(0)))


@mutant("round_trip")
class LadjOfTheWayBackHasTheOtherSign(Flow):
    def from_latent_with_ladj(
        self, latents: Latents, context: Context | None = None
    ) -> tuple[Tensor, Tensor]:
        x, ladj = super().from_latent_with_ladj(latents, context)
        return x, -ladj


@mutant("determinism")
class SamplerUsesTheGlobalGenerator(Flow):
    def sample_base(
        self, num: int, *, temperature: float, generator: Generator | None, device: torch.device
    ) -> Latents:
        return (temperature * torch.randn(num, self.data.num_dims),)


@mutant("samples")
class SamplerTooNarrow(Flow):
    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: Generator,
    ) -> Tensor:
        cold = settings.model_copy(update={"temperature": 0.6 * settings.temperature})
        return values(super().sample(num, settings=cold, generator=generator))


@mutant("temperature")
class SamplerALittleCold(Flow):
    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: Generator,
    ) -> Tensor:
        cold = settings.model_copy(update={"temperature": 0.97 * settings.temperature})
        return values(super().sample(num, settings=cold, generator=generator))


@mutant("sampling", LearnsConfig)
class SamplerALittleColdWithoutLatents(Normal):
    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: Generator,
    ) -> Tensor:
        cold = settings.model_copy(update={"temperature": 0.97 * settings.temperature})
        return super().sample(num, settings=cold, generator=generator)


@mutant("sampling", AugmentedConfig)
class SamplerALittleColdWithAugmentationNoise(Augmented):
    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: Generator,
    ) -> Tensor:
        cold = settings.model_copy(update={"temperature": 0.97 * settings.temperature})
        return values(super().sample(num, settings=cold, generator=generator))


@mutant("sampling", CategoricalConfig, "image")
class SamplerALittleColdOfIntegers(Categorical):
    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: Generator,
    ) -> Tensor:
        cold = settings.model_copy(update={"temperature": 0.97 * settings.temperature})
        return values(super().sample(num, settings=cold, generator=generator))


@mutant("sampling", LatentConfig)
class SamplerWithoutOutputNoise(LatentVariable):
    """A VAE that shows the mean of its decoder and calls it a sample."""

    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: Generator,
    ) -> Tensor:
        x = values(super().sample(num, settings=settings, generator=generator))
        shown: Tensor = self.mean + (x - self.mean) * 0.5**0.5
        return shown


@mutant("sampling", CategoricalConfig, "image")
class SamplerOfAnotherTemperature(Categorical):
    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: Generator,
    ) -> Tensor:
        cold = settings.model_copy(update={"temperature": 0.5 * settings.temperature})
        return values(super().sample(num, settings=cold, generator=generator))


@mutant("mass", CategoricalConfig, "image")
class ProbabilitiesNotNormalised(Categorical):
    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        log_probs = F.logsigmoid(self.logits) + 0.2
        return log_probs.gather(1, x.flatten(1).t()).sum(0)


@mutant("sampling_options")
class TemperatureIgnored(Flow):
    def sample_base(
        self, num: int, *, temperature: float, generator: Generator | None, device: torch.device
    ) -> Latents:
        return super().sample_base(num, temperature=1.0, generator=generator, device=device)


# --- rows of a batch ------------------------------------------------------------------------------


@mutant("neighbours")
class BatchStatisticsLeak(Flow):
    """The scale of a row follows the mean of all rows, in eval mode too."""

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        latents, ladj = super().to_latent(x)
        own = x.flatten(1).mean(1)
        return latents, ladj + 0.1 * (own.mean() - own)


@mutant("order")
class PositionLeaks(Flow):
    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        latents, ladj = super().to_latent(x)
        return latents, ladj + 1e-3 * torch.arange(len(x), dtype=x.dtype)


@mutant("order", AugmentedConfig)
class PositionLeaksBesideAugmentationNoise(Augmented):
    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        latents, ladj = super().to_latent(x, aux=aux)
        return latents, ladj + 1e-3 * torch.arange(len(x), dtype=x.dtype)


@mutant("order", LatentConfig)
class PositionLeaksIntoABound(LatentVariable):
    """Its noise is drawn by row, so that only the mean over draws can tell."""

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        log_prob = values(super().log_prob(x, generator=generator))
        return log_prob + torch.arange(len(x), dtype=x.dtype)


@mutant("order")
class WrongForOneRow(Flow):
    """As a squeeze() may be, that takes the batch axis of a single row for one of the event."""

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        latents, ladj = super().to_latent(x)
        return latents, ladj + (0.1 if len(x) == 1 else 0.0)


@mutant("batch_size")
class OtherInLargeBatches(Flow):
    """Chunks of 128 rows, of which one is counted twice."""

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        log_prob = values(super().log_prob(x))
        return log_prob + (0.01 if len(x) > 128 else 0.0)


@mutant("batch_size", LatentConfig)
class BoundOtherInLargeBatches(LatentVariable):
    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        log_prob = values(super().log_prob(x, generator=generator))
        return log_prob + (2.0 if len(x) == 256 else 0.0)


# --- memory of examples and of calls --------------------------------------------------------------


class RemembersConfig(FlowConfig):
    full_graph: ClassVar = False
    full_graph_reason: ClassVar = "it keeps examples"


class Remembers(Flow):
    """Keeps the training examples that it has seen."""

    kept: Tensor
    num_kept: ClassVar = 2048

    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.register_buffer("kept", torch.full((self.num_kept, data.num_dims), 1e9))

    def loss(self, batch: Batch, step: Step) -> Tensor:
        seen = torch.cat([batch.x.flatten(1), self.kept])[: self.num_kept]
        self.kept.copy_(seen)
        return -values(super().log_prob(batch.x)).mean()

    def nearest(self, x: Tensor) -> Tensor:
        return torch.cdist(x.flatten(1), self.kept.to(x.dtype)).min(1).values


@mutant("fresh_points", RemembersConfig)
class JumpsAtTrainingPoints(Remembers):
    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        log_prob = values(super().log_prob(x))
        return log_prob + 0.5 * (self.nearest(x) < 1e-4).to(x.dtype)


@mutant("fresh_points", RemembersConfig)
class PeaksAtTrainingPoints(Remembers):
    """As a kernel of a hundredth of the data's spread on each example does."""

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        log_prob = values(super().log_prob(x))
        return log_prob + torch.exp(-0.5 * (self.nearest(x) / 0.01) ** 2)


@mutant("likelihood_kind")
class RemembersTheLastCall(Flow):
    last: float | None = None

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        shift, self.last = self.last or 0.0, float(x.mean())
        return values(super().log_prob(x)) + 0.1 * shift


@mutant("determinism")
class SamplingLeaksIntoTheDensity(Flow):
    drawn = 0

    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: Generator,
    ) -> Tensor:
        self.drawn += 1
        return values(super().sample(num, settings=settings, generator=generator))

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        return values(super().log_prob(x)) + 0.01 * self.drawn


# --- shapes, numbers, types -----------------------------------------------------------------------


@mutant("shapes")
class LikelihoodOfTheBatch(Flow):
    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        return values(super().log_prob(x)).mean()


@mutant("shapes")
class LatentsOfAnotherShape(Flow):
    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((self.data.num_dims, 1),)


@mutant("finite")
class LogOfZero(Flow):
    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        closest = (x.flatten(1) - x.flatten(1)[:1]).abs().sum(1)
        return values(super().log_prob(x)) + 0.0 * closest.log()

    def loss(self, batch: Batch, step: Step) -> Tensor:
        return -values(super().log_prob(batch.x)).mean()


@mutant("training")
class ExplodesInTraining(Flow):
    num_steps = 0

    def loss(self, batch: Batch, step: Step) -> Tensor:
        return values(super().loss(batch, step)) * (math.inf if self.num_steps > 3 else 1.0)

    def after_step(self, step: Step) -> None:
        self.num_steps += 1
        if self.num_steps > 4:
            first_linear(self.layers).weight.data.fill_(math.nan)


@mutant("precision")
class SinglePrecisionInside(Flow):
    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        log_prob = values(super().log_prob(x))
        return log_prob.float()


@mutant("precision")
class OtherInSinglePrecision(Flow):
    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        return values(super().log_prob(x)) + (0.01 if x.dtype == torch.float32 else 0.0)


@mutant("precision")
class LargeNumbersCancel(Flow):
    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        return (values(super().log_prob(x)) + 1e6) - 1e6


@mutant("float64_map")
class AccumulatorOfDefaultType(Flow):
    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        latents, ladj = super().to_latent(x)
        total = torch.zeros(len(x))
        total += ladj
        return latents, total


# --- compiling, accumulating, refitting -----------------------------------------------------------


@mutant("full_graph")
class ReadsProgressOnTheHost(Flow):
    def loss(self, batch: Batch, step: Step) -> Tensor:
        return values(super().loss(batch, step)) * (2.0 if step.progress > 0.5 else 1.0)


class NoReasonConfig(FlowConfig):
    full_graph: ClassVar = False


@mutant("full_graph", NoReasonConfig)
class NotOneGraphAndNoReason(Flow):
    pass


@mutant("accumulation")
class ChangesABufferThatItsGraphHolds(Flow):
    weight: Tensor

    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.register_buffer("weight", torch.ones(()))

    def loss(self, batch: Batch, step: Step) -> Tensor:
        if self.training:
            self.weight.mul_(0.999)
        return values(super().loss(batch, step)) * self.weight


@mutant("refit")
class RefitsAParameter(Flow):
    def refit(self, batches: Iterable[Batch], *, generator: Generator) -> None:
        for batch in batches:
            first_linear(self.layers).bias.add_(batch.x.mean())


# --- training and state ---------------------------------------------------------------------------


@mutant("gradients")
class DetachedFromTheLoss(Flow):
    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.log_scale = nn.Parameter(torch.zeros(data.num_dims))

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        (z,), ladj = super().to_latent(x)
        log_scale = self.log_scale.detach()
        return (z * log_scale.exp(),), ladj + log_scale.sum()

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        return super().from_latent((latents[0] * (-self.log_scale).exp(),))


@mutant("gradients")
class LeftOutOfTheOptimizer(Flow):
    def optimizer_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"all": list(self.layers[0].parameters())}


@mutant("interruption", StagedConfig)
class DataOfAPhaseNotInTrainingState(Staged):
    def training_state(self) -> dict[str, Any]:
        return {}

    def load_training_state(self, state: dict[str, Any]) -> None: ...


@mutant("interruption", StagedConfig)
class BeginsAPhaseOtherwiseEachTime(Staged):
    num_begun = 0

    def begin_phase(self, start: PhaseStart) -> None:
        BeginsAPhaseOtherwiseEachTime.num_begun += 1
        super().begin_phase(start)
        self.made = self.made + self.num_begun


@mutant("state")
class InitialisationNotInState(Flow):
    def initialize(self, batch: Batch, *, generator: Generator) -> None:
        self.offset = batch.x.flatten(1).mean(0) + 0.3

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        return super().to_latent(x - self._offset(x))

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        x = super().from_latent(latents)
        return x + self._offset(x)

    def _offset(self, x: Tensor) -> Tensor:
        offset = getattr(self, "offset", torch.zeros(self.data.num_dims))
        return offset.to(x.dtype).view(self.data.event_shape)


@mutant("state")
class PermutationNotInState(Flow):
    """A random permutation as a plain attribute: another one after a restart."""

    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.signs = torch.where(torch.rand(data.num_dims, device="cpu") < 0.5, -1.0, 1.0)

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        (z,), ladj = super().to_latent(x)
        return (z * self.signs.to(x.dtype) + self.signs.to(x.dtype),), ladj

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        signs = self.signs.to(latents[0].dtype)
        return super().from_latent(((latents[0] - signs) * signs,))


# --- the process and the inputs -------------------------------------------------------------------


@mutant("process_state")
class SeedsTheGlobalGenerator(Flow):
    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        torch.manual_seed(0)
        return values(super().log_prob(x))


@mutant("process_state")
class SetsThreads(Flow):
    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        torch.set_num_threads(torch.get_num_threads() + 1)
        return values(super().log_prob(x))


@mutant("process_state")
class SetsTheDefaultDtype(Flow):
    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        log_prob = values(super().log_prob(x))
        torch.set_default_dtype(torch.float64)
        return log_prob


@mutant("process_state")
class InitialisesFromTheGlobalGenerator(Flow):
    def initialize(self, batch: Batch, *, generator: Generator) -> None:
        super().initialize(batch, generator=generator)
        self.mean.add_(0.1 * torch.randn(self.mean.shape))


@mutant("process_state")
class SeedsNumPy(Flow):
    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: Generator,
    ) -> Tensor:
        np.random.seed(0)  # noqa: NPY002
        return values(super().sample(num, settings=settings, generator=generator))


@mutant("inputs")
class ReturnsToTrainingMode(Flow):
    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        self.train()
        return values(super().log_prob(x))


@mutant("inputs")
class ChangesItsInput(Flow):
    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        log_prob = values(super().log_prob(x))
        x.add_(1.0)
        return log_prob


@mutant("inputs")
class UpdatesStatisticsInEvalMode(Flow):
    seen: Tensor

    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.register_buffer("seen", torch.zeros(()))

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        self.seen += len(x)
        return values(super().log_prob(x))


# --- construction ---------------------------------------------------------------------------------


@mutant("construction")
class ConstructorDrawsItsWidth(Flow):
    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.unused = nn.Parameter(torch.zeros(int(torch.randint(1, 1000, ()))))


@mutant("construction")
class OtherParametersOnTheMetaDevice(Flow):
    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        if not first_linear(self.layers).weight.is_meta:
            self.unused = nn.Parameter(torch.zeros(()))


class MisspeltConfig(FlowConfig):
    presets: ClassVar = {
        "vector": Preset(summary="fine"),
        "large": Preset(summary="a key that there is not", values={"widht": 512}),
    }


@mutant("presets", MisspeltConfig)
class PresetMisspelt(Flow):
    pass


class CrashingConfig(FlowConfig):
    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        return {"image": "image"}[data.modality]


@mutant("configuration", CrashingConfig)
class DefaultPresetCrashes(Flow):
    pass


@mutant("interface")
class SampleAsInAnotherLibrary(Flow):
    def sample(self, num: int) -> Tensor:  # type: ignore[override]
        return self.from_latent((torch.randn(num, self.data.num_dims),))


@mutant("interface")
class NotAModel(nn.Linear):
    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(data.num_dims, 1)


@hookimpl
def register_models() -> list[ModelSpec]:
    return SPECS
