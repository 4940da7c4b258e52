"""Networks that see a waveform row by row, and the spectrogram that it is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench_models.nets.calibrated import normalised
from flowbench_models.nets.convolution import Kernel, convolve
from flowbench_models.nets.sharing import Indication

HEIGHT = 3
"""Rows that a convolution sees: its own and those before it."""

SLOPE = 0.4
"""Of the leaky ReLU in the upsampler; released code."""


class NormalisedConvs(nn.Module):
    """Convolutions of one shape with normalised weights, which start as torch's own do.

    Args:
        num: How many.
        size: Height and width of the kernels.

    References:
        Salimans and Kingma (2016), Weight Normalization, https://arxiv.org/abs/1602.07868.
    """

    def __init__(
        self, num: int, num_inputs: int, num_outputs: int, size: tuple[int, int] = (1, 1)
    ) -> None:
        super().__init__()
        bound = (num_inputs * math.prod(size)) ** -0.5
        weight = torch.empty(num, num_outputs, num_inputs, *size).uniform_(-bound, bound)
        self.magnitude = nn.Parameter(weight.flatten(2).norm(dim=2))
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.empty(num, num_outputs).uniform_(-bound, bound))

    def kernels(self) -> Tensor:
        """The weights that convolve, shape (num, num_outputs, num_inputs, *size)."""
        # All at once: a call for each would take longer than what it computes.
        weights = normalised(self.weight.flatten(0, 1), self.magnitude.flatten())
        return weights.view_as(self.weight)

    def fold(self) -> list[Kernel]:
        """Weight and bias of each of them."""
        return list(zip(self.kernels().unbind(), self.bias.unbind(), strict=True))


class Upsampler(nn.Module):
    """Brings a spectrogram to a value for each of a waveform's by two transposed convolutions.

    Args:
        stride: Values of the waveform that a frame stands for; split into two factors.

    References:
        Ping et al. (2020), WaveFlow, https://arxiv.org/abs/1912.01219, section 3.2; kernels and
        slope as in released code.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        # As equal as they can be: 256 values are 16 times 16.
        first = next(f for f in range(math.isqrt(stride), 0, -1) if stride % f == 0)
        self.strides = (stride // first, first)
        self.layers = nn.ModuleList(NormalisedConvs(1, 1, 1, (3, 2 * s)) for s in self.strides)

    def forward(self, mel: Tensor, length: int) -> Tensor:
        """Maps (B, bands, frames) to (B, bands, length)."""
        h = mel.unsqueeze(1)  # (B, 1, bands, frames)
        layers = cast("list[NormalisedConvs]", list(self.layers))
        for stride, layer in zip(self.strides, layers, strict=True):
            ((weight, bias),) = layer.fold()
            h = F.conv_transpose2d(h, weight, bias, stride=(1, stride), padding=(1, stride // 2))
            h = F.leaky_relu(h, SLOPE)
        return h.squeeze(1)[..., :length]


class Folded(NamedTuple):
    """What a network amounts to in one flow.

    Attributes:
        front: From values to hidden channels.
        sights: Of each layer, the weight that sees columns and rows, and what is added to it.
        outs: Of each layer, from gated channels to residual and skip.
        projection: From skips to the law's parameters.
        backwards: Whether rows go from the last to the first.
        decay: Factor on hidden channels after each layer.
    """

    front: Kernel
    sights: list[Kernel]
    outs: list[Kernel]
    projection: Kernel
    backwards: bool
    decay: float


Sight = Callable[[int, Tensor], Tensor]
"""Gives the hidden channels (B, R, n, W) of a layer with those of the two rows before them."""


class Estimator(nn.Module):
    r"""A WaveNet in two dimensions, causal in rows, for one flow or for all.

    Layer i computes :math:`\tanh(a) \odot \sigma(b)` of a convolution that sees this row and the
    two before it, in columns :math:`2^i` apart to both sides, plus what the context adds; of that a
    residual and a skip. Axes are (B, C, G, W), rows before columns, with channels last in memory.

    Args:
        num_context: Channels of the context; 0 for none.
        num_embedding: Numbers that tell flows apart, where the network is shared; 0 for none.

    References:
        Ping et al. (2020), WaveFlow, https://arxiv.org/abs/1912.01219, section 3; Lee et al.
        (2020), NanoFlow, https://arxiv.org/abs/2006.06280, section 3.3. As in released code, gates
        are on residuals alone, which then are not scaled down.
    """

    def __init__(
        self, channels: int, layers: int, *, num_context: int = 0, num_embedding: int = 0
    ) -> None:
        super().__init__()
        self.front = NormalisedConvs(1, 1, channels)
        self.sights = NormalisedConvs(layers, channels, 2 * channels, (HEIGHT, 3))
        self.outs = NormalisedConvs(layers, channels, 2 * channels)
        self.context = NormalisedConvs(layers, num_context, 2 * channels) if num_context else None
        self.embedded = (
            NormalisedConvs(layers, num_embedding, 2 * channels) if num_embedding else None
        )

    def contexts(self, features: Tensor | None) -> list[Tensor] | None:
        """What the context adds to each layer, (B, 2R, G, W) each, in every flow."""
        if self.context is None or features is None:
            return None
        # Their biases are in those of the sights.
        return [convolve(features, weight, None) for weight in self.context.kernels().unbind()]

    def fold(
        self, indications: Sequence[Indication], projections: Sequence[Kernel], first: int = 0
    ) -> list[Folded]:
        """What the network amounts to in each of its flows.

        Args:
            indications: One for each flow; none where the network cannot tell flows apart.
            projections: One for each flow.
            first: Index of the first of these flows, by which they know their direction.

        Returns:
            One for each of ``projections``.
        """
        num, width = len(projections), self.outs.bias.shape[1] // 2
        weights = self.sights.kernels()
        # Flow by flow rows go the other way: kernels turn round, and no value is moved.
        turned = weights.flip(-2)
        biases = self.sights.bias if self.context is None else self.sights.bias + self.context.bias
        biases = biases.expand(num, *biases.shape)  # (K, J, 2R)
        outs = self.outs.kernels()
        outs, out_biases = outs.expand(num, *outs.shape), self.outs.bias.expand(num, -1, -1)
        if indications and self.embedded is not None:
            embeddings = torch.stack([indication.embedding for indication in indications])
            terms = torch.einsum("jod,kd->kjo", self.embedded.kernels()[..., 0, 0], embeddings)
            biases = biases + terms + self.embedded.bias
            gates = Indication.factors(indications)  # (K, J, R)
            # Of the residual half: skips have none.
            factors = torch.cat((gates, torch.ones_like(gates)), dim=2)
            outs, out_biases = outs * factors[..., None, None, None], out_biases * factors
        (front,) = self.front.fold()
        decay = 1.0 if indications else math.sqrt(0.5)
        found = []
        for index, projection in enumerate(projections):
            backwards = (first + index) % 2 == 0
            kernels = (turned if backwards else weights).unbind()
            sights = list(zip(kernels, biases[index].unbind(), strict=True))
            of_outs = list(zip(outs[index].unbind(), out_biases[index].unbind(), strict=True))
            # The last residual goes nowhere.
            weight, bias = of_outs[-1]
            of_outs[-1] = weight[width:], bias[width:]
            found.append(Folded(front, sights, of_outs, projection, backwards, decay))
        return found


def run(net: Folded, h: Tensor, contexts: Sequence[Tensor] | None, sight: Sight) -> Tensor:
    """Computes a law's parameters.

    Args:
        net: The network.
        h: Values of the rows before, shape (B, 1, n, W).
        contexts: What the context adds to each layer there, (B, 2R, n, W) each; None for nothing.
        sight: Gives each layer the rows that it sees.

    Returns:
        Parameters, shape (B, num_parameters, n, W).
    """
    h = convolve(h, *net.front)
    skips = h.new_zeros(())
    for layer, ((weight, bias), out) in enumerate(zip(net.sights, net.outs, strict=True)):
        reach = 2**layer
        a = F.conv2d(sight(layer, h), weight, bias, padding=(0, reach), dilation=(1, reach))
        if contexts is not None:
            a = a + contexts[layer]
        value, gate = a.chunk(2, dim=1)
        a = convolve(value.tanh() * gate.sigmoid(), *out)
        if layer < len(net.outs) - 1:
            residual, a = a.chunk(2, dim=1)
            h = (h + residual) * net.decay if net.decay != 1.0 else h + residual
        skips = skips + a
    return convolve(skips, *net.projection)


def of_all_rows(net: Folded, x: Tensor, contexts: Sequence[Tensor] | None) -> Tensor:
    """The law's parameters of all rows of known values, in one pass.

    Args:
        net: The network.
        x: Values, shape (B, 1, G, W).
        contexts: As in `run`.

    Returns:
        Parameters, shape (B, num_parameters, G, W).
    """
    before = (0, 0, 0, HEIGHT - 1) if net.backwards else (0, 0, HEIGHT - 1, 0)
    # Each row is told of the rows before it alone.
    others = x[:, :, 1:] if net.backwards else x[:, :, :-1]
    shifted = F.pad(others, (0, 0, 0, 1) if net.backwards else (0, 0, 1, 0))
    return run(net, shifted, contexts, lambda _, h: F.pad(h, before))


class RowByRow:
    """The law's parameters of one row after the other, each from the row that was found last.

    Of every layer the two rows before are kept, so that a row takes one pass over three rows.

    Args:
        net: The network.
        contexts: What the context adds to each layer, (B, 2R, G, W) each; None for nothing.
    """

    def __init__(self, net: Folded, contexts: Sequence[Tensor] | None) -> None:
        self.net = net
        self.contexts = None if contexts is None else [each.unbind(dim=2) for each in contexts]
        self.kept: list[list[Tensor]] = [[] for _ in net.sights]

    def parameters(self, before: Tensor, row: int) -> Tensor:
        """The parameters of a row.

        Args:
            before: Values of the row before it, shape (B, 1, 1, W); zeros for the first.
            row: Which row.

        Returns:
            Parameters, shape (B, num_parameters, 1, W).
        """
        here = None
        if self.contexts is not None:
            here = [rows[row].unsqueeze(2) for rows in self.contexts]
        return run(self.net, before, here, self._sight)

    def _sight(self, layer: int, h: Tensor) -> Tensor:
        kept = self.kept[layer]
        if not kept:  # the first row has zeros before it
            kept += [torch.zeros_like(h)] * (HEIGHT - 1)
        kept.append(h)
        window = kept[-1::-1] if self.net.backwards else list(kept)
        del kept[0]
        return torch.cat(window, dim=2)
