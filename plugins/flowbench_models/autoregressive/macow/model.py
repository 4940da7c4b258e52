"""MaCow: masked convolutions in four directions beside couplings, over several levels."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench.api import DatasetInfo
from flowbench_models.autoregressive.macow.config import Levels, MaCowConfig
from flowbench_models.bijections.base import (
    Bijection,
    Composition,
    ConditionalBijection,
    ElementwiseMap,
    HalfCoupling,
    Shift,
    SigmoidAffine,
    sum_event_dims,
)
from flowbench_models.bijections.channels import ActNorm, FlowStep, FullConv1x1, Squeeze
from flowbench_models.bijections.dequantization import (
    Dequantizer,
    LevelScaling,
    OneLatentModel,
)
from flowbench_models.nets.calibrated import Apply, CalibratedConv2d, run
from flowbench_models.nets.convolution import ContextualConditioner

UNITS = 2
"""Pairs of two masked convolutions by rows and two by columns in each step."""


class MaCow(OneLatentModel):
    r"""MaCow.

    A step is twice [actnorm, two masked convolutions by rows, actnorm, two by columns], then
    [actnorm, 1x1 convolution, coupling]. Steps run at the image's own size, then at ever smaller
    ones, after each of which a part of the channels leaves, in several splits a level. Splits are
    [actnorm, 1x1 convolution, coupling] themselves, which transforms what leaves, so that all of
    the latent, which has the image's shape, is standard normal. Of images with one channel, the
    steps at their own size have masked convolutions alone.

    Raises:
        ConfigError: The configuration does not fit the data.

    References:
        Ma et al. (2019), MaCow: Masked Convolutional Generative Flow,
        https://arxiv.org/abs/1902.04208, with the details of the released code. Departure: levels
        are centred to [-1/2, 1/2] in place of [-1, 1], which the first actnorm undoes.
    """

    config: MaCowConfig

    def __init__(self, config: MaCowConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        num_channels = data.event_shape[0]
        if config.dequantization == "variational":
            self.dequantizer = MaskedDequantizer(config, data)
            self.scaling = LevelScaling(data.levels or 0, config.logit_alpha)
        self.flow = _levels(config.levels, num_channels, affine=config.coupling == "affine")
        self.to(memory_format=torch.channels_last)


class MaskedConv(ConditionalBijection):
    r"""Transforms each line of an image given those before it.

    A convolution that sees some lines before a line, ELU, and a 1x1 convolution that starts at zero
    make the parameters of an elementwise law. The inverse goes line by line.

    Args:
        num_channels: Size C of axis 1.
        law: What happens to each element.
        reach: How many lines are seen.
        span: How many places in each of them, an odd number.
        by_rows: Whether lines are rows, or else columns.
        backwards: Whether lines are seen that come after, rather than before.
        num_context: Channels of the context; 0 for none.

    Example:
        >>> conv = MaskedConv(2, SigmoidAffine(), reach=2, span=3, by_rows=True, backwards=False)
        >>> x = torch.randn(3, 2, 4, 4)
        >>> z, ladj = conv(x)
        >>> torch.allclose(conv.inverse(z), x, atol=1e-5)
        True

    References:
        Ma et al. (2019), MaCow, https://arxiv.org/abs/1902.04208, section 3.2.
    """

    def __init__(
        self,
        num_channels: int,
        law: ElementwiseMap,
        *,
        reach: int,
        span: int,
        by_rows: bool,
        backwards: bool,
        num_context: int = 0,
    ) -> None:
        super().__init__()
        self.law = law
        self.reach, self.axis, self.backwards = reach, 2 if by_rows else 3, backwards
        side = span // 2
        # A line less at one end: the last line is seen by none.
        lines = (-1, reach) if backwards else (reach, -1)
        self.around = (side, side, *lines) if by_rows else (*lines, side, side)
        self.aside = (side, side, 0, 0) if by_rows else (0, 0, side, side)
        # Released code; the more channels, the fewer for each.
        width = 4 * num_channels if num_channels <= 96 else min(2 * num_channels, 512)
        kernel = (reach, span) if by_rows else (span, reach)
        self.hidden = CalibratedConv2d(
            num_channels, width, kernel, weight_norm=True, apply=F.conv2d
        )
        self.context = (
            CalibratedConv2d(num_context, width, 3, weight_norm=True) if num_context else None
        )
        self.output = CalibratedConv2d(
            width, law.num_parameters * num_channels, weight_norm=True, scale=0.0
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, H, W) to latent; see `ConditionalBijection.forward`."""
        parameters = self._of_law(F.pad(x, self.around), self._features(context))
        z, log_derivative = self.law(x, parameters.to(x.dtype))
        return z, sum_event_dims(log_derivative)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps latent to data, line by line."""
        features = self._features(context)
        lines = z.split(1, dim=self.axis)
        order = range(len(lines))
        seen = [torch.zeros_like(lines[0])] * self.reach
        for index in reversed(order) if self.backwards else order:
            window = seen[-self.reach :]
            strip = torch.cat(window[::-1] if self.backwards else window, dim=self.axis)
            here = None if features is None else features.narrow(self.axis, index, 1)
            parameters = self._of_law(F.pad(strip, self.aside), here)
            seen.append(self.law.inverse(lines[index], parameters.to(z.dtype)))
        found = seen[self.reach :]
        return torch.cat(found[::-1] if self.backwards else found, dim=self.axis)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Calibrates layer by layer from a first batch."""
        hidden = self.hidden.initialize(F.pad(x, self.around))
        if self.context is not None and context is not None:
            hidden = hidden + self.context.initialize(context)
        self.output.initialize(F.elu(hidden))
        z: Tensor = self(x, context)[0]
        return z

    def _features(self, context: Tensor | None) -> Tensor | None:
        """What the context adds to hidden values."""
        if self.context is None or context is None:
            return None
        features: Tensor = self.context(context)
        return features

    def _of_law(self, padded: Tensor, features: Tensor | None) -> Tensor:
        hidden = self.hidden(padded)
        if features is not None:
            hidden = hidden + features
        parameters: Tensor = self.output(F.elu(hidden))
        return parameters


class NormalisedNet(ContextualConditioner):
    """Convolutions 3x3, 1x1 and 3x3 with normalised weights and ELUs between, zero at the start.

    Args:
        width: Hidden channels.
        num_context: Channels of a context that is seen beside the input; 0 for none.
    """

    def __init__(
        self, num_inputs: int, num_outputs: int, *, width: int, num_context: int = 0
    ) -> None:
        super().__init__()
        self.input = CalibratedConv2d(num_inputs + num_context, width, 3, weight_norm=True)
        self.hidden = CalibratedConv2d(width, width, weight_norm=True)
        self.output = CalibratedConv2d(width, num_outputs, 3, weight_norm=True, scale=0.0)

    def forward(self, h: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, num_inputs, H, W), and a context of its size, to (B, num_outputs, H, W)."""
        h = F.elu(self.input(_beside(h, context)))
        parameters: Tensor = self.output(F.elu(self.hidden(h)))
        return parameters

    def initialize(self, h: Tensor, context: Tensor | None = None) -> Tensor:
        """Calibrates layer by layer from a first batch; returns the parameters."""
        h = F.elu(self.input.initialize(_beside(h, context)))
        return self.output.initialize(F.elu(self.hidden.initialize(h)))


def _beside(h: Tensor, context: Tensor | None) -> Tensor:
    return h if context is None else torch.cat((h, context.to(h.dtype)), dim=1)


class Squeezed(ConditionalBijection):
    """A bijection of squeezed images, as one of images; a context is squeezed, too.

    Example:
        >>> z, ladj = Squeezed(Composition([ActNorm(4)]))(torch.zeros(2, 1, 4, 4))
        >>> z.shape
        torch.Size([2, 1, 4, 4])
    """

    def __init__(self, inner: ConditionalBijection) -> None:
        super().__init__()
        self.inner = inner
        self.squeeze = Squeeze(by_position=True)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, H, W) to latent; see `ConditionalBijection.forward`."""
        z, ladj = self.inner(self.squeeze(x)[0], self._squeezed(context))
        return self.squeeze.inverse(z), ladj

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps latent to data."""
        x = self.inner.inverse(self.squeeze(z)[0], self._squeezed(context))
        return self.squeeze.inverse(x)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Initialises the inner bijection from squeezed images."""
        z = self.inner.initialize(self.squeeze(x)[0], self._squeezed(context))
        return self.squeeze.inverse(z)

    def _squeezed(self, context: Tensor | None) -> Tensor | None:
        return None if context is None else self.squeeze(context)[0]


class OnFirst(ConditionalBijection):
    """A bijection of the first channels; the others pass.

    Args:
        inner: Of as many channels as it is given.
        num_channels: How many these are.

    Example:
        >>> norm = OnFirst(Composition([ActNorm(1)]), 1)
        >>> z, ladj = norm(torch.ones(2, 3, 1, 1))
        >>> z.shape
        torch.Size([2, 3, 1, 1])
    """

    def __init__(self, inner: ConditionalBijection, num_channels: int) -> None:
        super().__init__()
        self.inner, self.num_channels = inner, num_channels

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, ...) to latent; see `ConditionalBijection.forward`."""
        first, others = self._split(x)
        z, ladj = self.inner(first, context)
        return torch.cat((z, others), dim=1), ladj

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps latent to data."""
        first, others = self._split(z)
        return torch.cat((self.inner.inverse(first, context), others), dim=1)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Initialises the inner bijection from the channels that it gets."""
        first, others = self._split(x)
        return torch.cat((self.inner.initialize(first, context), others), dim=1)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, : self.num_channels], x[:, self.num_channels :]


class LevelContext(nn.Module):
    """What the dequantizer sees of an image: residual blocks down to smaller sizes, and up again.

    Args:
        num_channels: Channels of the image.
        levels: Number K of its levels.
        halvings: How often the size is halved, and doubled again.
        width: Channels at full size, and more of them after each halving, up to four times as many.
        num_outputs: Channels out.
    """

    def __init__(
        self, num_channels: int, *, levels: int, halvings: int, width: int, num_outputs: int
    ) -> None:
        super().__init__()
        self.levels = levels
        widths = [width * min(1 + index, 4) for index in range(halvings + 1)]
        self.layers = nn.ModuleList([ResidualConv(num_channels, width), ResidualConv(width, width)])
        halve, double = (
            partial(F.conv2d, stride=2, padding=1),
            partial(_transposed, stride=2, padding=1, output_padding=1),
        )
        for before, after in pairwise(widths):
            self.layers.append(EluConv(before, after, halve))
            self.layers.extend([ResidualConv(after, after), ResidualConv(after, after)])
        for before, after in pairwise(reversed(widths)):
            self.layers.append(EluConv(before, after, double))
        self.output = CalibratedConv2d(width, num_outputs, weight_norm=True)

    def forward(self, x: Tensor, calibrate: bool) -> Tensor:
        """Maps levels (B, C, H, W) to (B, num_outputs, H, W)."""
        h = 2.0 / self.levels * x - 1.0
        for layer in self.layers:
            h = layer(h, calibrate)
        return run(self.output, h, calibrate)


def _transposed(h: Tensor, weight: Tensor, bias: Tensor | None, **sizes: int) -> Tensor:
    return F.conv_transpose2d(h, weight.transpose(0, 1), bias, **sizes)


class EluConv(nn.Module):
    """A convolution 3x3 that changes the size, then ELU."""

    def __init__(self, num_inputs: int, num_outputs: int, apply: Apply) -> None:
        super().__init__()
        self.layer = CalibratedConv2d(num_inputs, num_outputs, 3, weight_norm=True, apply=apply)

    def forward(self, h: Tensor, calibrate: bool) -> Tensor:
        """Maps (B, num_inputs, H, W) to (B, num_outputs, H / 2, W / 2), or to twice the size."""
        return F.elu(run(self.layer, h, calibrate))


class ResidualConv(nn.Module):
    """Two convolutions 3x3 with an ELU between, beside an identity or 1x1 convolution, then ELU."""

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        self.first = CalibratedConv2d(num_inputs, num_outputs, 3, weight_norm=True)
        self.second = CalibratedConv2d(num_outputs, num_outputs, 3, weight_norm=True)
        self.beside = (
            CalibratedConv2d(num_inputs, num_outputs, weight_norm=True)
            if num_inputs != num_outputs
            else None
        )

    def forward(self, h: Tensor, calibrate: bool) -> Tensor:
        """Maps (B, num_inputs, H, W) to (B, num_outputs, H, W)."""
        beside = h if self.beside is None else run(self.beside, h, calibrate)
        h = F.elu(run(self.first, h, calibrate))
        return F.elu(run(self.second, h, calibrate) + beside)


class MaskedDequantizer(Dequantizer):
    """Dequantization noise by MaCow's levels of steps, given an image."""

    def __init__(self, config: MaCowConfig, data: DatasetInfo) -> None:
        super().__init__()
        self.noise_shape = data.event_shape
        num_channels, num_context = data.event_shape[0], config.context_channels
        self.context = LevelContext(
            num_channels,
            levels=data.levels or 0,
            halvings=len(config.dequantizer.steps) - 1,
            width=config.context_width,
            num_outputs=num_context,
        )
        self.flow = _levels(config.dequantizer, num_channels, affine=True, num_context=num_context)

    def logits(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Maps noise to the logit of u; see `Dequantizer.logits`."""
        logits, ladj = self.flow(noise, self.context(x, calibrate=False))
        return logits, ladj

    def initialize(self, x: Tensor, noise: Tensor) -> Tensor:
        """Calibrates the context's network, then each step; returns dequantized levels."""
        self.flow.initialize(noise, self.context(x, calibrate=True))
        z: Tensor = self(x, noise)[0]
        return z


def _levels(
    levels: Levels, num_channels: int, *, affine: bool, num_context: int = 0, level: int = 0
) -> ConditionalBijection:
    """A level of steps, with all deeper ones within it."""
    width, counts = levels.widths[level], levels.steps[level]

    def steps(num_channels: int, count: int, *behind: Bijection) -> Composition:
        step = partial(_step, levels, width=width, affine=affine, num_context=num_context)
        return Composition([*(part for _ in range(count) for part in step(num_channels)), *behind])

    if level == len(levels.steps) - 1:
        return steps(num_channels, counts[0])
    leaving = num_channels // levels.factors[level - 1] if level else 0
    kept = num_channels - len(counts) * leaving
    deeper = _levels(levels, 4 * kept, affine=affine, num_context=4 * num_context, level=level + 1)
    inner: ConditionalBijection = Squeezed(deeper)
    if not level:
        return steps(num_channels, counts[0], inner)
    for count in reversed(counts):
        law = SigmoidAffine(shift_last=True)
        split = _glow_step(kept + leaving, leaving, law, width, num_context)
        inner = steps(kept + leaving, count, split, OnFirst(inner, kept))
        kept += leaving
    return inner


def _step(
    levels: Levels, num_channels: int, *, width: int, affine: bool, num_context: int
) -> list[Bijection]:
    def law() -> ElementwiseMap:
        return SigmoidAffine(shift_last=True) if affine else Shift()

    parts: list[Bijection] = []
    for by_rows in (True, False) * UNITS:
        parts.append(ActNorm(num_channels))
        for backwards in (False, True):
            parts.append(
                MaskedConv(
                    num_channels,
                    law(),
                    reach=levels.reach,
                    span=levels.span,
                    by_rows=by_rows,
                    backwards=backwards,
                    num_context=num_context,
                )
            )
    # One channel has no halves to couple.
    if num_channels > 1:
        parts.append(_glow_step(num_channels, num_channels // 2, law(), width, num_context))
    return parts


def _glow_step(
    num_channels: int, num_transformed: int, law: ElementwiseMap, width: int, num_context: int
) -> FlowStep:
    net = NormalisedNet(
        num_channels - num_transformed,
        law.num_parameters * num_transformed,
        width=width,
        num_context=num_context,
    )
    coupling = HalfCoupling(law, net, swap=False, num_transformed=num_transformed)
    return FlowStep(ActNorm(num_channels), FullConv1x1(num_channels), coupling)
