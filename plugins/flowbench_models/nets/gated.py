"""Networks of gated convolutions and gated attention, after Flow++."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench_models.nets.calibrated import CalibratedConv2d, run
from flowbench_models.nets.convolution import ContextualConditioner

Mixing = Literal["attention", "pointwise", "none"]
"""What follows each gated convolution: attention, in its place a layer of each position alone with
as many parameters, or nothing."""

GATE_SCALE = 0.1
"""Of the outputs of gates and of the whole network at the first batch; released code of Flow++."""

POSITION_STD = 0.01
LONGEST_WAVE = 10_000.0  # over 2 pi, in positions; the Transformer's


def concat_elu(h: Tensor) -> Tensor:
    """ELU of h and of -h, one after the other in axis 1."""
    return F.elu(torch.cat((h, -h), dim=1))


def gate(h: Tensor) -> Tensor:
    r"""Halves of axis 1 as :math:`a \odot \sigma(b)`."""
    value, weight = h.chunk(2, dim=1)
    return value * weight.sigmoid()


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each position."""

    def forward(self, input: Tensor) -> Tensor:
        """Maps (B, C, H, W) to the same shape."""
        # In channels-last memory both permutations are views.
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GatedConv(nn.Module):
    """Residual block: concatenated ELU, 3x3 convolution, the same, gated convolution.

    Args:
        num_context: Channels of the context; 0 for none.
        dropout: Part of hidden values that are dropped in training.
        gate_kernel: Kernel size of the second convolution.
    """

    def __init__(
        self,
        width: int,
        *,
        num_context: int = 0,
        dropout: float = 0.0,
        gate_kernel: int = 1,
        weight_norm: bool = False,
    ) -> None:
        super().__init__()
        self.hidden = CalibratedConv2d(2 * width, width, 3, weight_norm=weight_norm)
        self.context = (
            CalibratedConv2d(2 * num_context, width, weight_norm=weight_norm)
            if num_context
            else None
        )
        self.gate = CalibratedConv2d(
            2 * width, 2 * width, gate_kernel, weight_norm=weight_norm, scale=GATE_SCALE
        )
        self.dropout = dropout

    def forward(self, h: Tensor, context: Tensor | None, calibrate: bool) -> Tensor:
        """Maps (B, width, H, W), and a context of the same size, to the same shape."""
        hidden = run(self.hidden, concat_elu(h), calibrate)
        if self.context is not None and context is not None:
            hidden = hidden + run(self.context, concat_elu(context), calibrate)
        hidden = F.dropout(concat_elu(hidden), self.dropout, self.training)
        return h + gate(run(self.gate, hidden, calibrate))


class GatedMixing(nn.Module):
    """Residual block: self-attention of all positions, gated; or a layer of each position alone.

    Args:
        heads: Of the attention, a divisor of the width.
        mixing: ``attention`` or ``pointwise``: the largest of each three values.
        bias: Whether queries, keys and values have one.
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        mixing: Mixing,
        dropout: float = 0.0,
        bias: bool = True,
        weight_norm: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.mixing, self.dropout = heads, mixing, dropout
        self.projection = CalibratedConv2d(width, 3 * width, bias=bias, weight_norm=weight_norm)
        self.gate = CalibratedConv2d(width, 2 * width, weight_norm=weight_norm, scale=GATE_SCALE)

    def forward(self, h: Tensor, positions: Tensor, calibrate: bool) -> Tensor:
        """Maps (B, width, H, W), and embeddings (width, H, W), to the same shape."""
        projected = run(self.projection, h + positions, calibrate)
        if self.mixing == "attention":
            mixed = self._attend(projected)
        else:
            mixed = projected.unflatten(1, (3, -1)).amax(dim=1)
        mixed = F.dropout(mixed, self.dropout, self.training)
        return h + gate(run(self.gate, mixed, calibrate))

    def _attend(self, projected: Tensor) -> Tensor:
        height, width = projected.shape[2:]
        # (3, B, heads, H * W, d)
        parts = projected.flatten(2).unflatten(1, (3, self.heads, -1)).permute(1, 0, 2, 4, 3)
        q, k, v = parts.unbind()
        attended = F.scaled_dot_product_attention(q, k, v).transpose(2, 3)  # (B, heads, d, H * W)
        out: Tensor = attended.flatten(1, 2).unflatten(2, (height, width))
        return out


class GatedNet(ContextualConditioner):
    """Convolution, blocks of gated convolution and attention with layer norms, convolution.

    Args:
        size: Height and width of images; those of learned position embeddings.
        width: Hidden channels.
        blocks: Number of blocks.
        heads: Of the attention.
        mixing: What follows each gated convolution.
        positions: Whether position embeddings are learned, or waves of many lengths.
        num_context: Channels of the context; 0 for none.
        dropout: Part of hidden values that are dropped in training.
        weight_norm: Whether weights are normalised.
        calibrated: Whether a first batch calibrates all layers; if not, they start as those of
            `torch.nn.Conv2d`, and queries, keys and values have no bias, as in mAR-SCF.
        output_elu: Whether concatenated ELUs stand before the last convolution.

    References:
        Ho et al. (2019), Flow++: Improving Flow-Based Generative Models with Variational
        Dequantization and Architecture Design, https://arxiv.org/abs/1902.00275, section 3.3 and
        appendix A.
    """

    positions: Tensor | None

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        size: tuple[int, int],
        *,
        width: int,
        blocks: int,
        heads: int = 4,
        mixing: Mixing = "attention",
        positions: Literal["learned", "waves"] = "learned",
        num_context: int = 0,
        dropout: float = 0.0,
        weight_norm: bool = False,
        calibrated: bool = True,
        output_elu: bool = False,
    ) -> None:
        super().__init__()
        self.calibrated, self.output_elu = calibrated, output_elu
        if mixing == "none":
            self.register_parameter("positions", None)
        elif positions == "waves":
            # Not saved: they are fixed.
            self.register_buffer("positions", waves(width, *size), persistent=False)
        else:
            self.positions = nn.Parameter(POSITION_STD * torch.randn(width, *size))
        self.input = CalibratedConv2d(num_inputs, width, 3, weight_norm=weight_norm)
        self.convolutions = nn.ModuleList(
            GatedConv(width, num_context=num_context, dropout=dropout, weight_norm=weight_norm)
            for _ in range(blocks)
        )
        self.mixings = nn.ModuleList(
            GatedMixing(
                width,
                heads=heads,
                mixing=mixing,
                dropout=dropout,
                bias=calibrated,
                weight_norm=weight_norm,
            )
            for _ in range(0 if mixing == "none" else blocks)
        )
        num_norms = len(self.convolutions) + len(self.mixings)
        self.norms = nn.ModuleList(ChannelNorm(width) for _ in range(num_norms))
        self.output = CalibratedConv2d(
            (2 if output_elu else 1) * width,
            num_outputs,
            3,
            weight_norm=weight_norm,
            scale=GATE_SCALE,
        )
        if not calibrated:
            self._start_as_torch_does()

    def forward(self, h: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, num_inputs, H, W), and a context of its size, to (B, num_outputs, H, W)."""
        return self._run(h, context, calibrate=False)

    def initialize(self, h: Tensor, context: Tensor | None = None) -> Tensor:
        """Calibrates layer by layer from a first batch; returns the parameters."""
        return self._run(h, context, calibrate=self.calibrated)

    def _run(self, h: Tensor, context: Tensor | None, *, calibrate: bool) -> Tensor:
        h = run(self.input, h, calibrate)
        norms = iter(self.norms)
        for index, convolution in enumerate(self.convolutions):
            h = next(norms)(convolution(h, context, calibrate))
            if self.mixings:
                h = next(norms)(self.mixings[index](h, self.positions, calibrate))
        return run(self.output, concat_elu(h) if self.output_elu else h, calibrate)

    def _start_as_torch_does(self) -> None:
        layers = (layer for layer in self.modules() if isinstance(layer, CalibratedConv2d))
        for layer in layers:
            magnitude, bias = layer.magnitude, layer.bias
            bound = layer.weight[0].numel() ** -0.5
            nn.init.uniform_(layer.weight, -bound, bound)
            if magnitude is not None:
                magnitude.data.copy_(layer.weight.detach().flatten(1).norm(dim=1))
            if bias is not None:
                nn.init.uniform_(bias, -bound, bound)


def waves(width: int, height: int, image_width: int) -> Tensor:
    """Position embeddings: sines, then cosines, of positions counted row by row.

    Args:
        width: Number of channels C, even and at least 4.

    Returns:
        Shape (C, H, W).

    References:
        Vaswani et al. (2017), Attention Is All You Need, https://arxiv.org/abs/1706.03762,
        section 3.5.
    """
    num_lengths = width // 2
    steps = torch.arange(num_lengths) / (num_lengths - 1)
    frequencies = torch.exp(-math.log(LONGEST_WAVE) * steps)
    angles = frequencies[:, None] * torch.arange(height * image_width)
    return torch.cat((angles.sin(), angles.cos())).view(width, height, image_width)
