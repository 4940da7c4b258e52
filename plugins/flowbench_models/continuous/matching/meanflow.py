"""MeanFlow: the average velocity over a stretch of time, for samples in one step."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor

from flowbench.api import (
    Batch,
    Context,
    DatasetInfo,
    Ema,
    GenerativeModel,
    Likelihood,
    NoLikelihood,
    Preset,
    SampleSettings,
    SamplingOptions,
    Step,
    WithInfo,
)
from flowbench_models.continuous.matching.config import (
    GUIDE_UNET,
    SMALL_PRESETS,
    NetworkConfig,
    ladder,
)
from flowbench_models.continuous.matching.model import beside, network_of, normal
from flowbench_models.continuous.matching.presets import IMAGE_ASSUMPTIONS, image_training

TINY_ERROR = 1e-3
"""Added to squared errors before they are weighted; the paper's."""


class MeanFlowSampling(SamplingOptions):
    """How samples are drawn (``--sample steps=4``).

    Attributes:
        steps: Stretches of time, of equal length, that one average velocity each leads over.
    """

    steps: int = Field(default=1, ge=1)


def _without_likelihood(preset: Preset) -> Preset:
    """A preset of flow matching for a model that solves nothing."""
    values = {key: value for key, value in preset.values.items() if key != "evaluation"}
    return replace(preset, values=values)


class MeanFlowConfig(NetworkConfig):
    """Configuration of MeanFlow.

    Attributes:
        instantaneous: Part of training examples whose stretch has no length, where the average
            velocity is that of flow matching.
        power: Errors are weighted by their squared norm to minus this power; 0 weights all alike.
        mean_log_odds: Of the times of training, whose log-odds are normal.
        spread: Their standard deviation.
    """

    instantaneous: float = Field(default=0.75, ge=0, le=1)
    power: float = Field(default=1.0, ge=0)
    mean_log_odds: float = -0.4
    spread: float = Field(default=1.0, gt=0)

    full_graph: ClassVar[bool] = False
    full_graph_reason: ClassVar[str] = "its loss differentiates forwards, in the middle of it"
    sampling: ClassVar[type[SamplingOptions]] = MeanFlowSampling
    presets: ClassVar[Mapping[str, Preset]] = {
        **{
            name: _without_likelihood(SMALL_PRESETS[name])
            for name in ("toy", "tiny", "small", "vector")
        },
        "cifar10": Preset(
            summary="the paper's training on CIFAR-10; --budget 800000steps",
            source="paper",
            values={
                **GUIDE_UNET,
                "dropout": 0.2,
                "instantaneous": 0.25,
                "power": 0.75,
                "mean_log_odds": -2.0,
                "spread": 2.0,
                "training": image_training(
                    steps=800_000,
                    batch_size=1024,
                    warmup_steps=10_000,
                    lr=6e-4,
                    clip_norm=None,
                    average=Ema(decay=0.99995),
                ),
            },
            assumptions=(
                *IMAGE_ASSUMPTIONS[:1],
                "the network of the flow matching guide, told two times (released: DDPM++, whose "
                "resolutions change smoothly)",
                "images are flipped and not augmented more (released: as in EDM, and told how)",
            ),
        ),
    }

    def likelihood(self, data: DatasetInfo) -> Likelihood | NoLikelihood:
        """None: there is no density of what a few average velocities lead to."""
        del data
        return NoLikelihood(reason="a step along an average velocity has no known determinant")

    def sampling_ladder(self, data: DatasetInfo) -> tuple[SampleSettings, ...]:
        """Few steps to many."""
        del data
        return ladder()

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Its network is told two times."""
        if self.network == "ddpmpp":
            return "ddpmpp is told one time, and meanflow has two; set network=unet"
        return super().unsupported(data)


class MeanFlow(GenerativeModel):
    r"""The average velocity u from time r to t, learned by its own identity.

    Time runs from data at 0 to noise at 1, as in the paper, with :math:`z_t = (1 - t) x + t
    \epsilon` and :math:`v = \epsilon - x`:

    .. math:: u(z_t, r, t) = v - (t - r) \left( v\, \partial_z u + \partial_t u \right), \qquad
        z_r = z_t - (t - r)\, u(z_t, r, t)

    The bracket is one derivative forwards, whose value is held fixed.

    References:
        Geng et al. (2025), Mean Flows for One-step Generative Modeling,
        https://arxiv.org/abs/2505.13447, sections 4.1 and 4.3.
    """

    config: MeanFlowConfig

    def __init__(self, config: MeanFlowConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.network = network_of(config, data, num_times=2)

    def average_velocity(self, z: Tensor, r: Tensor, t: Tensor) -> Tensor:
        """The average velocity at points (B, *event_shape), from times r to t, both (B,)."""
        # Told by its end and its length, as the paper found best.
        told = self.config.time_scale * torch.stack((t, t - r), dim=1)
        out: Tensor = self.network(told, z)
        return out

    def loss(self, batch: Batch, step: Step) -> WithInfo:
        """Squared error of the identity, large errors weighted less."""
        data, generator = batch.x, step.generator
        noise = normal(data, generator)
        r, t = self._stretches(data, generator)
        velocity = noise - data
        # Dropout must be the same in value and derivative, as it is in one pass.
        with warnings.catch_warnings():
            # At its first derivative forwards torch compiles in a way that it advises against.
            warnings.filterwarnings("ignore", ".*torch.jit.script.*", FutureWarning)
            found: Any = torch.func.jvp(
                self.average_velocity,
                (torch.lerp(data, noise, beside(t, data)), r, t),
                (velocity, torch.zeros_like(r), torch.ones_like(t)),
            )
        average, derivative = cast("tuple[Tensor, Tensor]", found)
        target = (velocity - beside(t - r, data) * derivative).detach()
        error = (average - target).square().flatten(1).sum(1)
        weight = (error.detach() + TINY_ERROR).pow(-self.config.power)
        out: Tensor = (weight * error).mean()
        return out

    def _stretches(self, like: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Starts r and ends t of stretches of time, both (B,), some without a length."""
        count, dtype, device = len(like), like.dtype, like.device
        log_odds = torch.randn((2, count), generator=generator, dtype=dtype, device=device)
        times = (self.config.mean_log_odds + self.config.spread * log_odds).sigmoid()
        r, t = times.amin(dim=0), times.amax(dim=0)
        part = torch.rand((count,), generator=generator, dtype=dtype, device=device)
        return torch.where(part < self.config.instantaneous, t, r), t

    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: torch.Generator,
    ) -> WithInfo:
        """Follows average velocities from noise to data."""
        steps = cast(MeanFlowSampling, settings).steps
        like = next(self.parameters())
        shape = (num, *self.data.event_shape)
        z = settings.temperature * torch.randn(
            shape, generator=generator, dtype=like.dtype, device=like.device
        )
        for index in range(steps, 0, -1):
            r, t = (z.new_full((num,), (index - back) / steps) for back in (1, 0))
            z = z - self.average_velocity(z, r, t) / steps
        return z, {"num_function_evaluations": z.new_tensor(float(steps))}
