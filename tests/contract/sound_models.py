"""Correct models of every kind that the contract knows; mutants derive from them. A plugin file.

Small, and on purpose without a line that they could do without: what is broken in a mutant must be
the one thing that its name says.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar, cast

import torch
from torch import Generator, Tensor, nn

from flowbench.api import (
    Batch,
    Context,
    DatasetInfo,
    DensityModel,
    GenerativeModel,
    InvertibleModel,
    Latents,
    Likelihood,
    ModelConfig,
    ModelSpec,
    NoTemperature,
    Phase,
    PhaseStart,
    Preprocessing,
    Preset,
    SamplingOptions,
    Step,
    Training,
    UniformDequantization,
    WithInfo,
    hookimpl,
    split_info,
    standard_normal_log_prob,
)
from flowbench.api.specs import Modality

FLOWBENCH_API_VERSION = 2
WIDTH = 8


class FlowConfig(ModelConfig):
    presets: ClassVar = {
        "vector": Preset(summary="for vectors"),
        "image": Preset(
            summary="for images", values={"preprocessing": {"noise": UniformDequantization()}}
        ),
    }
    training: Training = Training(lr=5e-3)

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        return "vector" if data.levels is None else "image"

    def unsupported(self, data: DatasetInfo) -> str | None:
        return "a coupling needs two parts" if data.num_dims < 2 else None


class Coupling(nn.Module):
    """Affine coupling of vectors: the first half conditions the rest, or the other way round."""

    def __init__(self, num_dims: int, *, swap: bool) -> None:
        super().__init__()
        self.swap = swap
        kept = num_dims // 2 if not swap else num_dims - num_dims // 2
        self.kept = kept
        self.net = nn.Sequential(
            nn.Linear(kept, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 2 * (num_dims - kept))
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b, log_scale, shift = self._parts(x)
        return self._join(a, b * log_scale.exp() + shift), log_scale.sum(1)

    def inverse(self, z: Tensor) -> Tensor:
        a, b, log_scale, shift = self._parts(z)
        return self._join(a, (b - shift) * (-log_scale).exp())

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = x.flip(1) if self.swap else x
        a, b = x[:, : self.kept], x[:, self.kept :]
        log_scale, shift = self.net(a).chunk(2, dim=1)
        return a, b, 0.5 * torch.tanh(log_scale), shift

    def _join(self, a: Tensor, b: Tensor) -> Tensor:
        joined = torch.cat([a, b], dim=1)
        return joined.flip(1) if self.swap else joined


def couplings(layers: nn.ModuleList) -> list[Coupling]:
    """The layers, as what they are to the type checker."""
    return cast("list[Coupling]", list(layers))


def first_linear(layers: nn.ModuleList) -> nn.Linear:
    return cast(nn.Linear, couplings(layers)[0].net[0])


def values(returned: WithInfo) -> Tensor:
    return split_info(returned)[0]


class Flow(InvertibleModel):
    """Couplings on flattened data behind a data-dependent shift."""

    mean: Tensor

    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.register_buffer("mean", torch.zeros(data.num_dims))
        self.layers = nn.ModuleList(Coupling(data.num_dims, swap=i % 2 == 1) for i in range(3))

    def initialize(self, batch: Batch, *, generator: Generator) -> None:
        self.mean.copy_(batch.x.flatten(1).mean(0))

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((self.data.num_dims,),)

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        z, ladj = x.flatten(1) - self.mean, x.new_zeros(len(x))
        for layer in couplings(self.layers):
            z, layer_ladj = layer(z)
            ladj = ladj + layer_ladj
        return (z,), ladj

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        x = latents[0]
        for layer in reversed(couplings(self.layers)):
            x = layer.inverse(x)
        return (x + self.mean).view(-1, *self.data.event_shape)


class StagedConfig(FlowConfig):
    training: Training = Training(lr=5e-3, phases=(Phase(share=0.5), Phase(share=0.5)))


class Staged(Flow):
    """Trains on what it makes at the start of each phase, too."""

    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.made = torch.zeros(data.num_dims)

    def begin_phase(self, start: PhaseStart) -> None:
        start.tick()
        self.made = torch.randn(self.data.num_dims, generator=start.generator)

    def training_state(self) -> dict[str, Any]:
        return {"made": self.made}

    def load_training_state(self, state: dict[str, Any]) -> None:
        self.made = state["made"]

    def loss(self, batch: Batch, step: Step) -> Tensor:
        (z,), _ = self.to_latent(batch.x)
        return values(super().loss(batch, step)) + (z - self.made).square().mean()


class SplitFlow(Flow):
    """Two latents: the second half's prior is read from the first half."""

    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.first = data.num_dims // 2
        self.prior = nn.Linear(self.first, data.num_dims - self.first)

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((self.first,), (self.data.num_dims - self.first,))

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        (z,), ladj = super().to_latent(x)
        a, b = z[:, : self.first], z[:, self.first :]
        log_scale = torch.tanh(self.prior(a))
        return (a, b * torch.exp(log_scale)), ladj + log_scale.sum(1)

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        a, b = latents
        b = b * torch.exp(-torch.tanh(self.prior(a)))
        return super().from_latent((torch.cat([a, b], dim=1),))


class AugmentedConfig(FlowConfig):
    def likelihood(self, data: DatasetInfo) -> Likelihood:
        kind = super().likelihood(data)
        assert isinstance(kind, Likelihood)
        return kind.model_copy(update={"noise": "weights", "bound": True})


class Augmented(InvertibleModel):
    """A flow of x and as much noise."""

    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.layers = nn.ModuleList(Coupling(2 * data.num_dims, swap=i % 2 == 1) for i in range(3))

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((2 * self.data.num_dims,),)

    def sample_aux(self, x: Tensor, *, generator: Generator | None) -> Latents:
        flat = x.flatten(1)
        return (torch.randn(flat.shape, generator=generator, dtype=x.dtype),)

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        z, ladj = torch.cat([x.flatten(1), *(aux or ())], dim=1), x.new_zeros(len(x))
        for layer in couplings(self.layers):
            z, layer_ladj = layer(z)
            ladj = ladj + layer_ladj
        return (z,), ladj

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        x = latents[0]
        for layer in reversed(couplings(self.layers)):
            x = layer.inverse(x)
        return x[:, : self.data.num_dims].view(-1, *self.data.event_shape)


class HutchinsonConfig(FlowConfig):
    def likelihood(self, data: DatasetInfo) -> Likelihood:
        return Likelihood(measure="continuous", noise="estimates")


class Hutchinson(InvertibleModel):
    """A linear flow z = expm(A) x, whose log-determinant tr A is estimated as e'Ae."""

    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.matrix = nn.Parameter(0.1 * torch.randn(data.num_dims, data.num_dims))

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        z = x.flatten(1) @ torch.linalg.matrix_exp(self.matrix).T
        return (z.view_as(x),), torch.trace(self.matrix).expand(len(x))

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        z = latents[0]
        x: Tensor = z.flatten(1) @ torch.linalg.matrix_exp(-self.matrix).T
        return x.view_as(z)

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        latents, _ = self.to_latent(x)
        return self.base_log_prob(latents) + self.estimate(x, generator)

    def estimate(self, x: Tensor, generator: Generator | None) -> Tensor:
        e = torch.randn(x.flatten(1).shape, generator=generator, dtype=x.dtype)
        return ((e @ self.matrix) * e).sum(1)


class LearnsConfig(ModelConfig):
    training: Training = Training(lr=2e-2)


class Normal(DensityModel):
    """Each value by itself, normal: a density without latents."""

    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.mean = nn.Parameter(torch.zeros(data.event_shape))
        self.log_std = nn.Parameter(torch.zeros(data.event_shape))

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        z = (x - self.mean) * (-self.log_std).exp()
        return standard_normal_log_prob((z,)) - self.log_std.sum()

    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: Generator,
    ) -> Tensor:
        z = settings.temperature * torch.randn(num, *self.data.event_shape, generator=generator)
        x: Tensor = self.mean + z * self.log_std.exp()
        return x


class LatentConfig(ModelConfig):
    training: Training = Training(lr=5e-3)

    def likelihood(self, data: DatasetInfo) -> Likelihood:
        return Likelihood(measure="continuous", noise="weights", bound=True)


class LatentVariable(DensityModel):
    """x = m + z + e with z, e ~ N(0, 1/2), and the proposal q(z|x) = N((x - m) / 2, s^2)."""

    spread: ClassVar = 0.6  # wider than the posterior's 0.5, so that weights vary but are tame

    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.mean = nn.Parameter(torch.zeros(data.event_shape))

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        centred = x - self.mean
        z = centred / 2 + self.spread * noise
        return self.joint(centred, z) - self.proposal(noise)

    def joint(self, centred: Tensor, z: Tensor) -> Tensor:
        return _half_normal_log_prob(z) + _half_normal_log_prob(centred - z)

    def proposal(self, noise: Tensor) -> Tensor:
        return standard_normal_log_prob((noise,)) - noise[0].numel() * math.log(self.spread)

    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: Generator,
    ) -> Tensor:
        shape = (2, num, *self.data.event_shape)
        z, e = settings.temperature * 0.5**0.5 * torch.randn(shape, generator=generator)
        x: Tensor = z + e + self.mean
        return x


def _half_normal_log_prob(values: Tensor) -> Tensor:
    """Log-density of N(0, 1/2) over event dims."""
    flat = values.flatten(1)
    return -(flat.square().sum(1)) - 0.5 * flat.shape[1] * math.log(math.pi)


class CategoricalConfig(ModelConfig):
    preprocessing: Preprocessing = Preprocessing(support="discrete")
    training: Training = Training(lr=5e-2)


class Categorical(DensityModel):
    """Each value by itself."""

    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.logits = nn.Parameter(torch.zeros(data.num_dims, data.levels or 0))

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        log_probs = self.logits.log_softmax(1)
        return log_probs.gather(1, x.flatten(1).t()).sum(0)

    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: Generator,
    ) -> Tensor:
        probs = (self.logits / settings.temperature).softmax(1)
        drawn = torch.multinomial(probs, num, replacement=True, generator=generator)
        return drawn.t().reshape(num, *self.data.event_shape)


class GanConfig(ModelConfig):
    sampling: ClassVar = NoTemperature


class Gan(GenerativeModel):
    """Two optimizers, no likelihood, no temperature."""

    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.generate = nn.Linear(data.num_dims, data.num_dims)
        self.critic = nn.Linear(data.num_dims, 1)

    def optimizer_groups(self) -> dict[str, list[nn.Parameter]]:
        return {
            "critic": list(self.critic.parameters()),
            "generator": list(self.generate.parameters()),
        }

    def loss(self, batch: Batch, step: Step) -> Tensor:
        fake = self._draw(len(batch.x), step.generator)
        score: Tensor = self.critic(fake.flatten(1)).tanh().mean()
        if step.group == "generator":
            return -score
        loss: Tensor = score - self.critic(batch.x.flatten(1)).tanh().mean()
        return loss

    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: Generator,
    ) -> Tensor:
        return self._draw(num, generator)

    def _draw(self, num: int, generator: Generator | None) -> Tensor:
        noise = torch.randn(num, self.data.num_dims, generator=generator)
        x: Tensor = self.generate(noise)
        return x.view(num, *self.data.event_shape)


class SevenConfig(FlowConfig):
    def unsupported(self, data: DatasetInfo) -> str | None:
        return None if data.num_dims == 7 else "made for 7 dims, a form that no contract thinks of"


SEVEN = DatasetInfo(
    name="seven",
    modality="audio",
    event_shape=(1, 7),
    levels=None,
    num_train=1,
    num_validation=1,
    num_test=1,
)


def spec(name: str, model: type, config: type, *modalities: Modality) -> ModelSpec:
    return ModelSpec(
        name=name,
        model=f"{model.__module__}:{model.__name__}",
        config=f"{config.__module__}:{config.__name__}",
        modalities=frozenset(modalities or ("vector",)),
        summary="for tests of the contract",
    )


SOUND = [
    spec("sound-flow", Flow, FlowConfig, "vector", "image", "sequence"),
    spec("sound-staged", Staged, StagedConfig),
    spec("sound-split", SplitFlow, FlowConfig),
    spec("sound-augmented", Augmented, AugmentedConfig),
    spec("sound-hutchinson", Hutchinson, HutchinsonConfig),
    spec("sound-normal", Normal, LearnsConfig),
    spec("sound-latent", LatentVariable, LatentConfig),
    spec("sound-categorical", Categorical, CategoricalConfig, "image"),
    spec("sound-gan", Gan, GanConfig),
    replace(spec("sound-seven", Flow, SevenConfig, "audio"), forms=(SEVEN,)),
]


@hookimpl
def register_models() -> list[ModelSpec]:
    return SOUND
