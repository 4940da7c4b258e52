"""The baseline that every model of waveforms must beat: a stationary Gaussian process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from flowbench.api import (
    Batch,
    Context,
    DatasetInfo,
    InvertibleModel,
    Latents,
    ModelConfig,
    Preprocessing,
    Preset,
    Standardise,
    Training,
)

FITTED_BATCH = 256
"""Waveforms of which moments are taken at a time; it bounds the memory of fitting."""

SMALLEST = 1e-9
"""Variance that no prediction explains, of data of variance 1: a pure tone leaves no other."""


class GaussianConfig(ModelConfig):
    """Configuration of the Gaussian process.

    Attributes:
        order: Values from which the next one is predicted; of shorter waveforms all but one.
    """

    order: int = Field(default=128, ge=1)
    preprocessing: Preprocessing = Preprocessing(bijections=(Standardise(per="all"),))
    training: Training = Training(init_examples=None)

    presets: ClassVar[Mapping[str, Preset]] = {
        "default": Preset(
            summary="linear prediction from 128 values, chosen on the validation split of prompts",
            tuning_trials=4,
        ),
    }

    def unsupported(self, data: DatasetInfo) -> str | None:
        """A waveform of one channel."""
        if data.event_shape[0] != 1:
            return f"waveforms of one channel are modelled, {data.name} has {data.event_shape[0]}"
        return None


class Gaussian(InvertibleModel):
    r"""A Gaussian process, :math:`x_t \sim N(\sum_{k=1}^{p} a_k x_{t-k}, \sigma^2)`.

    Values before the first count as zero. There is nothing to train: ``initialize`` finds the a of
    least error from the autocorrelation of a segment of each training waveform, which makes the
    process stable. Context is not used.

    Raises:
        ConfigError: The data have several channels.

    References:
        Makhoul (1975), Linear Prediction: A Tutorial Review, Proceedings of the IEEE 63, section
        II, the autocorrelation method.
    """

    config: GaussianConfig
    weights: Tensor
    log_std: Tensor

    def __init__(self, config: GaussianConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        order = min(config.order, data.event_shape[-1] - 1)
        self.register_buffer("weights", torch.zeros(order))  # of the nearest value last
        self.register_buffer("log_std", torch.zeros(()))

    def initialize(self, batch: Batch, *, generator: torch.Generator) -> None:
        """Fits the process to the whole train split, a segment of each waveform."""
        del generator
        order, length = len(self.weights), batch.x.shape[-1]
        # By their spectra, of waveforms with as many zeros after them: no end meets a beginning.
        power = sum(
            torch.fft.rfft(part.double(), n=2 * length).abs().square().sum(dim=(0, 1))
            for part in torch.split(batch.x, FITTED_BATCH)
        )
        moments = torch.fft.irfft(power, n=2 * length)[: order + 1]
        moments[0] += SMALLEST * batch.x.numel()
        lags = torch.arange(order, device=moments.device)
        matrix = moments[(lags[:, None] - lags).abs()]
        weights = torch.linalg.solve(matrix, moments[1:])
        variance = (moments[0] - weights @ moments[1:]) / batch.x.numel()
        self.weights.copy_(weights.flip(0))
        self.log_std.copy_(0.5 * variance.log())

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One latent, as long as a segment."""
        return ((1, self.config.training.window or self.data.event_shape[-1]),)

    def optimizer_groups(self) -> dict[str, list[nn.Parameter]]:
        """None: the process is fitted, not trained."""
        return {}

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        """Maps waveforms (B, 1, T) to their errors of prediction, over the standard deviation."""
        del context, aux
        before = F.pad(x, (len(self.weights), 0))[..., :-1]
        predicted = F.conv1d(before, self.weights[None, None]) if len(self.weights) else 0.0
        ladj = (-self.log_std * x.shape[-1]).expand(len(x))
        return ((x - predicted) * (-self.log_std).exp(),), ladj

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        """Maps latents (B, 1, T) to waveforms of that shape, value by value."""
        del context
        errors = latents[0][:, 0] * self.log_std.exp()  # (B, T)
        order = len(self.weights)
        x = F.pad(errors, (order, 0))
        for t in range(errors.shape[1]):
            x[:, order + t] += x[:, t : order + t] @ self.weights
        return x[:, None, order:]
