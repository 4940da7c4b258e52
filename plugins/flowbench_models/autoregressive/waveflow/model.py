"""WaveFlow, and NanoFlow on waveforms, whose flows share one network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from flowbench.api import (
    ConfigError,
    Context,
    DatasetInfo,
    InvertibleModel,
    Latents,
    SamplingOptions,
    ShapeError,
)
from flowbench_models.autoregressive.waveflow.config import (
    MEL,
    NanoFlowAudioConfig,
    WaveFlowConfig,
    rows_problem,
)
from flowbench_models.autoregressive.waveflow.network import (
    Estimator,
    Folded,
    NormalisedConvs,
    RowByRow,
    Upsampler,
    of_all_rows,
)
from flowbench_models.bijections.base import Affine, ElementwiseMap, sum_event_dims
from flowbench_models.bijections.splines import RationalQuadraticSpline
from flowbench_models.nets.convolution import Kernel, ZeroConv2d
from flowbench_models.nets.sharing import Indication

Contexts = Callable[[], list[Tensor] | None]
"""Computes what the context adds to each layer of a network."""

NEAR_ZERO = 1e-3
"""Largest weight and bias of an affine law's projection at the start; released code."""


class WaveFlow(InvertibleModel):
    r"""WaveFlow.

    A waveform of T values is folded into G rows, column by column. Each flow transforms every value
    given all rows before its own, so that a density takes one pass and a sample G of them; flow by
    flow the rows go the other way. Any multiple of G is a length; samples have that of a segment,
    or that of the spectrogram they are given, where it is another one.

    Raises:
        ConfigError: The configuration does not fit the data.

    References:
        Ping et al. (2020), WaveFlow: A Compact Flow-based Model for Raw Audio,
        https://arxiv.org/abs/1912.01219, in the form of the code of Lee et al. (2020), NanoFlow,
        https://arxiv.org/abs/2006.06280, where all rows are transformed. Departure: latents keep
        the order of the waveform, where the released code leaves those of an odd number of flows
        with their rows reversed.
    """

    config: WaveFlowConfig

    def __init__(self, config: WaveFlowConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        mel = data.context.get(MEL)
        self.upsampler = None
        num_context = 0
        if mel is not None and mel.stride is not None:
            self.upsampler, num_context = Upsampler(mel.stride), mel.shape[0]
        self.law: ElementwiseMap = Affine()
        if config.law == "rqs":
            self.law = RationalQuadraticSpline(config.bins, config.bound, config.channels)
        self.estimators = nn.ModuleList(
            Estimator(
                config.channels,
                config.layers,
                num_context=num_context,
                num_embedding=self.num_embedding(),
            )
            for _ in range(self.num_estimators())
        )
        num_projections = self.num_projections()
        self.projections: nn.ModuleList | NormalisedConvs
        if config.law == "rqs":
            self.projections = NormalisedConvs(
                num_projections, config.channels, self.law.num_parameters
            )
        else:
            self.projections = nn.ModuleList(
                _near_zero(ZeroConv2d(config.channels, self.law.num_parameters, 1))
                for _ in range(num_projections)
            )
        self.indications = nn.ModuleList()

    def num_estimators(self) -> int:
        """Networks without their last layer; here one for each flow."""
        return self.config.flows

    def num_projections(self) -> int:
        """Last layers, which make the law's parameters; here one for each flow."""
        return self.config.flows

    def num_embedding(self) -> int:
        """Numbers that tell a shared network which flow it works for; here none."""
        return 0

    def num_parameters(self) -> int:
        """As the papers count: the norms of weights are folded in, but for those of splines."""
        folded = [*self.estimators, *([] if self.upsampler is None else [self.upsampler])]
        convs = [c for part in folded for c in part.modules() if isinstance(c, NormalisedConvs)]
        return self.num_parameters_training() - sum(conv.magnitude.numel() for conv in convs)

    def num_parameters_training(self) -> int:
        """With the norms of weights, and with what makes constants of embeddings."""
        return super().num_parameters()

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        """Maps waveforms (B, 1, T) to latents of that shape; see `InvertibleModel.to_latent`."""
        z = self._folded(x)
        ladj = x.new_zeros(len(x))
        for net, contexts in self._networks(context, x.shape[-1]):
            parameters = of_all_rows(net, z, contexts()).to(x.dtype)
            z, log_derivative = self.law(z, parameters)
            ladj = ladj + sum_event_dims(log_derivative)
        return (self._unfolded(z),), ladj

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        """Maps latents (B, 1, T) to waveforms of that shape, row by row in each flow."""
        z = self._folded(latents[0])
        for net, contexts in reversed(self._networks(context, latents[0].shape[-1])):
            z = self._inverse(net, contexts(), z)
        return self._unfolded(z)

    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: torch.Generator,
    ) -> Tensor:
        """Draws waveforms (B, 1, T), T a segment's length or, if it is another, that of the mel."""
        dtype = next(self.parameters()).dtype
        shape = (num, 1, self._length(context))
        z = torch.randn(shape, generator=generator, device=generator.device, dtype=dtype)
        return self.from_latent((settings.temperature * z,), context)

    def _length(self, context: Context | None) -> int:
        length = self.data.event_shape[-1]
        if self.data.ragged and self.config.training.window is not None:
            length = self.config.training.window
        if self.upsampler is None or context is None:
            return length
        # A segment may end within its last frame.
        frames, stride = context[MEL].shape[-1], self.data.context[MEL].stride or 1
        return length if -(-length // stride) == frames else frames * stride

    def _folded(self, x: Tensor) -> Tensor:
        """A waveform as rows and columns (B, 1, G, W).

        Raises:
            ShapeError: The rows do not divide its length.
        """
        problem = rows_problem(self.config.rows, x.shape[-1])
        if problem is not None:
            raise ShapeError(problem)
        return x.reshape(len(x), 1, -1, self.config.rows).transpose(2, 3)

    def _unfolded(self, rows: Tensor) -> Tensor:
        """Rows and columns as the waveform (B, 1, T) that they are."""
        return rows.transpose(2, 3).flatten(2)

    def _features(self, context: Context | None, length: int) -> Tensor | None:
        """What a waveform is given, brought to its rows and columns: (B, bands, G, W).

        Raises:
            ConfigError: There is no spectrogram, and the model is given one.
            ShapeError: It has fewer frames than the waveform needs.
        """
        if self.upsampler is None:
            return None
        if context is None or MEL not in context:
            raise ConfigError(
                f"the density is given {MEL}, and the context has no {MEL!r}; pass "
                f"context={{{MEL!r}: ...}}"
            )
        mel, stride = context[MEL], self.data.context[MEL].stride or 1
        if mel.shape[-1] * stride < length:
            raise ShapeError(
                f"{MEL} has {mel.shape[-1]} frames for {length:,} values; expected "
                f"{-(-length // stride)}, one for each {stride}"
            )
        features: Tensor = self.upsampler(mel, length)
        # Channels last, as all that is computed from them.
        folded = features.reshape(*mel.shape[:2], -1, self.config.rows).transpose(2, 3)
        return folded.contiguous(memory_format=torch.channels_last)

    def _networks(self, context: Context | None, length: int) -> list[tuple[Folded, Contexts]]:
        """The network of each flow, and what the context adds to its layers."""
        features = self._features(context, length)
        projections = self._projections()
        estimators = cast("list[Estimator]", list(self.estimators))
        indications = cast("list[Indication]", list(self.indications))
        if len(estimators) == 1:
            contexts = estimators[0].contexts(features)
            folded = estimators[0].fold(indications, projections)
            return [(net, lambda: contexts) for net in folded]
        found: list[tuple[Folded, Contexts]] = []
        for first, (estimator, projection) in enumerate(zip(estimators, projections, strict=True)):
            (net,) = estimator.fold(indications, [projection], first)
            # Computed flow by flow, or those of all flows would be held at once.
            found.append((net, partial(estimator.contexts, features)))
        return found

    def _projections(self) -> list[Kernel]:
        """One for each flow, the same one where it is shared."""
        if isinstance(self.projections, NormalisedConvs):
            kernels = self.projections.fold()
        else:
            kernels = ZeroConv2d.fold(cast("list[ZeroConv2d]", list(self.projections)))
        return kernels * (self.config.flows // len(kernels))

    def _inverse(self, net: Folded, contexts: list[Tensor] | None, z: Tensor) -> Tensor:
        """The inverse of one flow, row by row."""
        rows = list(z.split(1, dim=2))
        in_turn = RowByRow(net, contexts)
        order = range(len(rows))
        before = torch.zeros_like(rows[0])
        for row in reversed(order) if net.backwards else order:
            parameters = in_turn.parameters(before, row).to(z.dtype)
            before = rows[row] = self.law.inverse(rows[row], parameters)
        return torch.cat(rows, dim=2)


def _near_zero(layer: ZeroConv2d) -> ZeroConv2d:
    for parameter in (layer.weight, layer.bias):
        nn.init.uniform_(parameter, -NEAR_ZERO, NEAR_ZERO)
    return layer


class NanoFlowAudio(WaveFlow):
    """NanoFlow on waveforms: WaveFlow whose flows share one network.

    A flow has its own last layer, and is told to the shared layers by an embedding, which adds to
    their biases, and by gates on their residuals.

    Raises:
        ConfigError: The configuration does not fit the data.

    References:
        Lee et al. (2020), NanoFlow: Scalable Normalizing Flows with Sublinear Parameter Complexity,
        https://arxiv.org/abs/2006.06280, sections 3 and 4.1. Gates are exponentials, as there; the
        released code multiplies by them directly, which is the same at the start.
    """

    config: NanoFlowAudioConfig

    def __init__(self, config: NanoFlowAudioConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        if config.embedding:
            embeddings = nn.init.orthogonal_(torch.empty(config.flows, config.embedding))
            self.indications.extend(
                Indication(each.clone(), gate_rows=config.layers, width=config.channels)
                for each in embeddings
            )

    def num_estimators(self) -> int:
        """One for all flows."""
        return 1

    def num_projections(self) -> int:
        """One for each flow, or for all of them."""
        return 1 if self.config.shared_projection else self.config.flows

    def num_embedding(self) -> int:
        """As configured."""
        return self.config.embedding

    def num_parameters(self) -> int:
        """As the paper counts: once trained, an embedding is a bias for each layer."""
        (estimator,) = cast("list[Estimator]", list(self.estimators))
        count = super().num_parameters()
        if estimator.embedded is None:
            return count
        made = self.config.flows * estimator.embedded.bias.numel()
        maker = estimator.embedded.weight.numel() + estimator.embedded.bias.numel()
        return count - self.config.flows * self.config.embedding - maker + made
