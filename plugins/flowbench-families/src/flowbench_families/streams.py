"""Two streams of causal convolutions, over whole images or at one position after another.

A stream's convolutions see the row above and their own: those of the *rows* stream on both sides,
those of the *pixels* stream on the left. What enters is shifted, so that the rows stream knows the
rows above a pixel, and the pixels stream, which it tells, those left of the pixel as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from flowbench_models.nets.calibrated import CalibratedConv2d
from flowbench_models.nets.gated import GATE_SCALE, concat_elu, gate
from torch import Tensor, nn

Nodes = Sequence[Sequence[Tensor]]
"""What the blocks of a stream gave, by resolution, in the order in which they are run."""


class Sight(NamedTuple):
    """What a convolution sees from a position.

    Attributes:
        rows: Its own row and those above.
        left: Columns on the left.
        right: Columns on the right.
    """

    rows: int
    left: int
    right: int


ROWS = Sight(rows=2, left=1, right=1)
PIXELS = Sight(rows=2, left=1, right=0)


def see(h: Tensor, weight: Tensor, bias: Tensor | None, *, sight: Sight, stride: int = 1) -> Tensor:
    """Convolves what is seen from each position, or from every second one.

    Args:
        h: Shape (B, C, H, W).
        weight: Shape (C_out, C, rows, columns).

    Returns:
        Shape (B, C_out, H / stride, W / stride).
    """
    padding = (sight.left, sight.right, sight.rows - 1, 0)
    return F.conv2d(F.pad(h, padding), weight, bias, stride)


def spread(h: Tensor, weight: Tensor, bias: Tensor | None, *, sight: Sight) -> Tensor:
    """Brings each position to the 2x2 that it stands for, so that none sees what it must not.

    Args:
        h: Shape (B, C, H, W).
        weight: Shape (C_out, C, 2, columns).

    Returns:
        Shape (B, C_out, 2 H, 2 W).
    """
    wide = F.conv_transpose2d(h, weight.transpose(0, 1), bias, stride=2)
    return wide[..., sight.right : sight.right + 2 * h.shape[3]]


def convolution(
    num_inputs: int, num_outputs: int, sight: Sight, *, stride: int = 1, scale: float = 1.0
) -> CalibratedConv2d:
    """A convolution of what is seen, with normalised weights."""
    return CalibratedConv2d(
        num_inputs,
        num_outputs,
        (sight.rows, sight.left + 1 + sight.right),
        weight_norm=True,
        scale=scale,
        apply=partial(see, sight=sight, stride=stride),
    )


class Way(Protocol):
    """How a stream is run."""

    def convolve(self, layer: CalibratedConv2d, h: Tensor) -> Tensor:
        """Runs a convolution."""
        ...

    def through(self, beneath: Beneath, h: Tensor, told: Nodes) -> tuple[Tensor, Nodes]:
        """Goes to the next resolution and back; also gives what its blocks gave."""
        ...


class Block(nn.Module):
    """Residual block: concatenated ELU, convolution, the same, gated convolution.

    Args:
        num_told: Channels that it is told beside its input; 0 for none.
        dropout: Part of hidden values that are dropped in training.
    """

    def __init__(self, width: int, sight: Sight, num_told: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.hidden = convolution(2 * width, width, sight)
        self.told = CalibratedConv2d(2 * num_told, width, weight_norm=True) if num_told else None
        self.gate = convolution(2 * width, 2 * width, sight, scale=GATE_SCALE)

    def forward(self, h: Tensor, told: list[Tensor], way: Way) -> Tensor:
        """Maps (B, width, H, W), told of the same positions, to the same shape."""
        hidden = way.convolve(self.hidden, concat_elu(h))
        if self.told is not None:
            hidden = hidden + way.convolve(self.told, concat_elu(torch.cat(told, dim=1)))
        hidden = F.dropout(concat_elu(hidden), self.dropout, self.training)
        return h + gate(way.convolve(self.gate, hidden))


class Stream(nn.Module):
    """One of both streams, at a resolution and at those beneath it.

    Args:
        width: Channels.
        blocks: Blocks on the way down; on the way back one more, but for the last resolution.
        resolutions: How many are left, this one included.
        is_told: Whether the other stream tells it what its blocks gave.
        dropout: As in `Block`.
    """

    def __init__(
        self,
        width: int,
        sight: Sight,
        *,
        blocks: int,
        resolutions: int,
        is_told: bool,
        dropout: float,
    ) -> None:
        super().__init__()

        def some(num: int, num_told: int) -> nn.ModuleList:
            return nn.ModuleList(Block(width, sight, num_told, dropout) for _ in range(num))

        self.is_told = is_told
        self.falling = some(blocks, is_told * width)
        self.beneath: Beneath | None = None
        if resolutions > 1:
            stream = Stream(
                width,
                sight,
                blocks=blocks,
                resolutions=resolutions - 1,
                is_told=is_told,
                dropout=dropout,
            )
            self.beneath = Beneath(stream, width, sight)
        self.rising = some(blocks + (resolutions > 1), (is_told + 1) * width)

    def forward(self, h: Tensor, told: Nodes, way: Way) -> Nodes:
        """Runs all blocks.

        Args:
            h: Shape (B, width, H, W).
            told: What the blocks of the other stream gave; nothing if that tells nothing.
            way: How they are run.
        """
        heard = iter(told[0] if self.is_told else ())
        nodes = [h]
        for block in self.falling:
            nodes.append(block(nodes[-1], [next(heard)] if self.is_told else [], way))
        made = nodes[1:]
        beneath: Nodes = ()
        if self.beneath is None:
            h = nodes.pop()
        else:
            h, beneath = way.through(self.beneath, nodes[-1], told[1:])
        for block in self.rising:
            h = block(h, [*([next(heard)] if self.is_told else []), nodes.pop()], way)
            made.append(h)
        return [made, *beneath]


class Beneath(nn.Module):
    """A stream at half the height and width, and the convolutions there and back."""

    def __init__(self, stream: Stream, width: int, sight: Sight) -> None:
        super().__init__()
        self.lower = convolution(width, width, sight, stride=2)
        self.stream = stream
        self.higher = CalibratedConv2d(
            width,
            width,
            (2, sight.left + 1 + sight.right),
            weight_norm=True,
            apply=partial(spread, sight=sight),
        )


@dataclass(frozen=True)
class Whole:
    """Whole images at once.

    Attributes:
        run: Runs a convolution, or calibrates it first.
    """

    run: Callable[[CalibratedConv2d, Tensor], Tensor]

    def convolve(self, layer: CalibratedConv2d, h: Tensor) -> Tensor:
        """Runs a convolution; see `Way`."""
        return self.run(layer, h)

    def through(self, beneath: Beneath, h: Tensor, told: Nodes) -> tuple[Tensor, Nodes]:
        """Goes to the next resolution and back; see `Way`."""
        nodes: Nodes = beneath.stream(self.run(beneath.lower, h), told, self)
        return self.run(beneath.higher, nodes[0][-1]), nodes


def _plain(layer: CalibratedConv2d, h: Tensor) -> Tensor:
    out: Tensor = layer(h)
    return out


def _calibrating(layer: CalibratedConv2d, h: Tensor) -> Tensor:
    # What is the same for all examples, since nothing lies above, has no spread to go by.
    return _plain(layer, h) if torch.equal(h, h[:1].expand_as(h)) else layer.initialize(h)


PLAIN, CALIBRATING = Whole(_plain), Whole(_calibrating)


class Kernels:
    """The weights of convolutions, normalised once."""

    def __init__(self) -> None:
        self._known: dict[CalibratedConv2d, Tensor] = {}

    def of(self, layer: CalibratedConv2d) -> Tensor:
        """The weight that convolves; see `CalibratedConv2d.kernel`."""
        if layer not in self._known:
            self._known[layer] = layer.kernel()
        return self._known[layer]


class InTurn:
    """A part of each image after another, at one resolution: what was seen before is kept.

    Attributes:
        row: Where the next part lies.
    """

    row = 0

    def __init__(self, kernels: Kernels) -> None:
        self.kernels = kernels
        self.kept: dict[CalibratedConv2d, Tensor] = {}

    def convolve(self, layer: CalibratedConv2d, h: Tensor) -> Tensor:
        """Runs a convolution at this part; see `Way`."""
        weight = self.kernels.of(layer)
        seen = self.seen(layer, h) if weight.shape[2] > 1 else h
        return F.conv2d(seen, weight, layer.bias)

    def lowered(self, layer: CalibratedConv2d, seen: Tensor) -> Tensor:
        """What the next resolution starts from."""
        return F.conv2d(seen, self.kernels.of(layer), layer.bias, stride=2)

    def raised(self, layer: CalibratedConv2d, h: Tensor) -> Tensor:
        """What it leads to."""
        return layer.apply_kernel(h, self.kernels.of(layer), layer.bias)

    def seen(self, layer: CalibratedConv2d, h: Tensor) -> Tensor:
        """What a convolution sees from this part, which is kept for those below it."""
        raise NotImplementedError


class RowInTurn(InTurn):
    """A row of each image after another, for the rows stream."""

    def __init__(self, kernels: Kernels) -> None:
        super().__init__(kernels)
        self._back: tuple[Tensor, Nodes] | None = None
        self._beneath: RowInTurn | None = None

    def seen(self, layer: CalibratedConv2d, h: Tensor) -> Tensor:
        """This row (B, C, 1, W) and that above it, padded on both sides."""
        above = self.kept.get(layer)
        self.kept[layer] = h
        both = torch.cat((torch.zeros_like(h) if above is None else above, h), dim=2)
        return F.pad(both, (ROWS.left, ROWS.right))

    def through(self, beneath: Beneath, h: Tensor, told: Nodes) -> tuple[Tensor, Nodes]:
        """Every second row goes to the next resolution; see `Way`."""
        seen = self.seen(beneath.lower, h)
        if self._back is None or self.row % 2 == 0:
            self._beneath = self._beneath or RowInTurn(self.kernels)
            self._beneath.row = self.row // 2
            lowered = self.lowered(beneath.lower, seen)
            nodes: Nodes = beneath.stream(lowered, told, self._beneath)
            self._back = self.raised(beneath.higher, nodes[0][-1]), nodes
        pair, nodes = self._back
        return pair[:, :, self.row % 2].unsqueeze(2), nodes


class PixelInTurn(InTurn):
    """A pixel of each image after another, for the pixels stream.

    Args:
        width: Of the images, at this resolution.

    Attributes:
        column: Where the next pixel lies.
    """

    column = 0

    def __init__(self, kernels: Kernels, width: int) -> None:
        super().__init__(kernels)
        self._width = width
        self._back: dict[int, Tensor] = {}
        self._beneath: PixelInTurn | None = None

    def seen(self, layer: CalibratedConv2d, h: Tensor) -> Tensor:
        """This pixel (B, C, 1, 1) with those above it, left of it, and left of that above."""
        rows = self.kept.get(layer)
        if rows is None:
            rows = self.kept[layer] = h.new_zeros(*h.shape[:2], 2, PIXELS.left + self._width)
        if self.column == 0:
            rows[:, :, 0] = rows[:, :, 1]
        rows[:, :, 1, self.column + 1] = h[:, :, 0, 0]
        return rows[..., self.column : self.column + 2]

    def through(self, beneath: Beneath, h: Tensor, told: Nodes) -> tuple[Tensor, Nodes]:
        """One of each four pixels goes to the next resolution; see `Way`."""
        seen = self.seen(beneath.lower, h)
        place, row, column = self.column // 2, self.row % 2, self.column % 2
        if row == column == 0:
            self._beneath = self._beneath or PixelInTurn(self.kernels, self._width // 2)
            self._beneath.row, self._beneath.column = self.row // 2, place
            lowered = self.lowered(beneath.lower, seen)
            nodes: Nodes = beneath.stream(lowered, told, self._beneath)
            self._back[place] = self.raised(beneath.higher, nodes[0][-1])
        # The other stream is not told by this one.
        return self._back[place][:, :, row : row + 1, column : column + 1], ()
