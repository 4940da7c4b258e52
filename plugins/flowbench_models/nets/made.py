"""MADE: perceptrons whose weights are masked so that each output sees earlier inputs alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench_models.nets.convolution import Conditioner

Activation = Literal["relu", "tanh"]
SMALL_START = 1e-3
"""Bound of the last weights of a residual block at the start; released code of NSF."""


class MaskedLinear(nn.Linear):
    """A linear layer, some of whose weights are held at zero.

    Args:
        mask: 1 for weights that are used, 0 for others; shape (num_outputs, num_inputs).
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.to(self.weight), persistent=False)

    def masked_weight(self) -> Tensor:
        """The weight as it is used, shape (num_outputs, num_inputs)."""
        return self.weight * self.mask

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, num_inputs) to (B, num_outputs)."""
        return F.linear(h, self.masked_weight(), self.bias)


@dataclass(frozen=True)
class Link:
    """What happens around a linear layer of a `MADE`.

    Attributes:
        activate: Whether its input is activated.
        dropout: Part of its inputs that are dropped in training.
        skip: Whether the state before the previous layer is added to its output.
    """

    activate: bool = True
    dropout: float = 0.0
    skip: bool = False


class MADE(Conditioner):
    r"""Perceptron whose outputs for an element depend on the elements before it alone.

    Each unit has a degree. A hidden unit sees units of at most its own degree, an output those of a
    *smaller* degree than its element's: :math:`m^l_k \ge m^{l-1}_j` and :math:`m_d > m^L_k`. Hidden
    degrees go through 1..D-1 in turn; with a context through 0..D-1, so that it reaches the first
    element, too (in the released codes of MAF and NSF it does not).

    Args:
        num_dims: Number D of elements.
        width: Units of each hidden layer.
        layers: Hidden layers; of a residual network its blocks of two, behind a first layer.
        num_parameters: Outputs P for each element: those of one kind for all elements, then those
            of the next kind.
        reverse: Whether the last element comes first.
        residual: Whether there are residual blocks, which activate their inputs.
        dropout: Part of hidden units that are dropped in training.
        degree_seed: Draws hidden degrees with this seed; None takes them in turn. Not for residual
            networks, whose blocks add units of one degree.
        num_context: Size of a context that all outputs see; 0 for none.
        zero_output: Whether the last layer starts at zero, so that a flow starts as the identity.

    Example:
        >>> net = MADE(3, 16, 2, num_parameters=2)
        >>> x = torch.randn(1, 3)
        >>> shifts, log_scales = net(x).chunk(2, dim=1)
        >>> later = net(x + torch.tensor([0.0, 0.0, 5.0]))  # nobody sees the last element
        >>> torch.equal(later, torch.cat((shifts, log_scales), dim=1))
        True

    References:
        Germain et al. (2015), MADE: Masked Autoencoder for Distribution Estimation,
        https://arxiv.org/abs/1502.03509, section 3; residual blocks as in the released code of
        Durkan et al. (2019), Neural Spline Flows, https://arxiv.org/abs/1906.04032.
    """

    def __init__(
        self,
        num_dims: int,
        width: int,
        layers: int,
        num_parameters: int,
        *,
        reverse: bool = False,
        residual: bool = False,
        activation: Activation = "relu",
        dropout: float = 0.0,
        degree_seed: int | None = None,
        num_context: int = 0,
        zero_output: bool = False,
    ) -> None:
        super().__init__()
        self.num_dims, self.num_parameters = num_dims, num_parameters
        self.activation = torch.relu if activation == "relu" else torch.tanh
        self.links = _links(layers, residual=residual, dropout=dropout)
        # Degrees decide on shapes, so they are numbers on the CPU even where weights are not.
        of_dims = torch.arange(1, num_dims + 1, device="cpu")
        degrees = [of_dims.flip(0) if reverse else of_dims]
        draw = None if degree_seed is None else torch.Generator("cpu").manual_seed(degree_seed)
        for _ in self.links[:-1]:
            lowest = 0 if num_context else min(1, num_dims - 1)
            degrees.append(_hidden_degrees(width, lowest, num_dims, degrees[-1], draw))
        masks = [after[:, None] >= before[None, :] for before, after in pairwise(degrees)]
        masks.append(degrees[0].repeat(num_parameters)[:, None] > degrees[-1][None, :])
        self.layers = nn.ModuleList(MaskedLinear(mask) for mask in masks)
        self.context = nn.Linear(num_context, width, bias=False) if num_context else None
        self._sorted = [_Sorted(of_layer, num_dims) for of_layer in degrees]
        for index, of_layer in enumerate(degrees):
            order = of_layer.argsort(stable=True).to(self._linear(0).weight.device)
            self.register_buffer(f"order_{index}", order, persistent=False)
        self._initialise(zero_output)

    @property
    def order(self) -> Tensor:
        """The elements from the first to the last, shape (D,)."""
        return self._order(0)

    def forward(self, h: Tensor, context: Tensor | None = None) -> Tensor:
        """Computes the parameters of all elements in one pass.

        Args:
            h: Elements, shape (B, D).
            context: What all outputs see, shape (B, num_context).

        Returns:
            Shape (B, P * D).
        """
        before = h
        for index, link in enumerate(self.links):
            out = self._linear(index)(self._enter(h, link))
            if index == 0 and self.context is not None:
                out = out + self.context(context)
            before, h = h, (before + out if link.skip else out)
        return h

    def in_turn(self, num: int, context: Tensor | None = None) -> MADEInTurn:
        """Begins a pass in which the elements come one by one.

        Args:
            num: Number B of examples.
            context: What all outputs see, shape (B, num_context).
        """
        return MADEInTurn(self, num, context)

    def _linear(self, index: int) -> MaskedLinear:
        return cast(MaskedLinear, self.layers[index])

    def _order(self, index: int) -> Tensor:
        return cast(Tensor, getattr(self, f"order_{index}"))

    def _enter(self, h: Tensor, link: Link) -> Tensor:
        """What a layer sees of the state before it."""
        h = self.activation(h) if link.activate else h
        return F.dropout(h, link.dropout, self.training) if link.dropout else h

    def _initialise(self, zero_output: bool) -> None:
        for index, link in enumerate(self.links):
            if link.skip:
                for parameter in self._linear(index).parameters():
                    nn.init.uniform_(parameter, -SMALL_START, SMALL_START)
        if zero_output:
            for parameter in self._linear(-1).parameters():
                nn.init.zeros_(parameter)


class MADEInTurn:
    """One pass through a `MADE` in which each element is known only after its parameters are.

    Units are computed once, as soon as all that they see is known, so that the whole costs as many
    multiplications as one plain pass, not D of them.

    Args:
        num: Number B of examples.
        context: What all outputs see, shape (B, num_context).
    """

    def __init__(self, net: MADE, num: int, context: Tensor | None) -> None:
        self._net, self._num_known = net, 0
        self._sort([net._linear(index) for index in range(len(net.links))])
        self._context = None if net.context is None else net.context(context)
        if self._context is not None:
            self._context = self._context[:, net._order(1)]
        nothing = self._weights[0].new_zeros(num, 0)
        self._entered = [nothing] * len(net.links)  # what each layer sees, units by their degrees

    def _sort(self, layers: list[MaskedLinear]) -> None:
        """Sorts the units of all layers by their degrees."""
        orders = [self._net._order(index) for index in range(len(layers))]
        self._weights: list[Tensor] = []
        self._biases: list[Tensor] = []
        for layer, before, after in zip(layers, orders, orders[1:], strict=False):
            weight = layer.masked_weight().index_select(0, after)
            self._weights.append(weight.index_select(1, before))
            self._biases.append(layer.bias.index_select(0, after))
        shape = (self._net.num_parameters, self._net.num_dims)
        weight = layers[-1].masked_weight().index_select(1, orders[-1]).view(*shape, -1)
        self._weights.append(weight.index_select(1, orders[0]))
        self._biases.append(layers[-1].bias.view(shape).index_select(1, orders[0]))

    def parameters(self) -> Tensor:
        """The parameters of the first element that is not known yet, shape (B, P)."""
        net, known = self._net, self._num_known
        before: Tensor | None = None
        state: Tensor | None = None  # of the units that have become known, layer by layer
        for index, link in enumerate(net.links[:-1]):
            start, stop = net._sorted[index + 1].units(known)
            entered = self._entered[index]
            weight = self._weights[index][start:stop, : entered.shape[1]]
            out = F.linear(entered, weight, self._biases[index][start:stop])
            if index == 0 and self._context is not None:
                out = out + self._context[:, start:stop]
            before, state = state, (before + out if link.skip and before is not None else out)
            entering = net._enter(state, net.links[index + 1])
            self._entered[index + 1] = torch.cat((self._entered[index + 1], entering), dim=1)
        entered = self._entered[-1]
        weight = self._weights[-1][:, known, : entered.shape[1]]
        return F.linear(entered, weight, self._biases[-1][:, known])

    def append(self, values: Tensor) -> None:
        """Takes the next element, shape (B, 1)."""
        entering = self._net._enter(values, self._net.links[0])
        self._entered[0] = torch.cat((self._entered[0], entering), dim=1)
        self._num_known += 1


class _Sorted:
    """Where the units of each degree are, when a layer's units are sorted by their degrees."""

    def __init__(self, degrees: Tensor, num_dims: int) -> None:
        counts = torch.bincount(degrees, minlength=num_dims + 1)
        self._ends = counts.cumsum(0).tolist()

    def units(self, degree: int) -> tuple[int, int]:
        """First and last of a degree, as a slice has them."""
        return (self._ends[degree - 1] if degree else 0), self._ends[degree]


def _links(layers: int, *, residual: bool, dropout: float) -> tuple[Link, ...]:
    """How the layers are linked, hidden ones and the last."""
    first = Link(activate=False)
    if not residual:
        return (first, *[Link(dropout=dropout)] * layers)
    blocks = [Link(), Link(dropout=dropout, skip=True)] * layers
    return (first, *blocks, Link(activate=False))


def _hidden_degrees(
    width: int, lowest: int, num_dims: int, before: Tensor, draw: torch.Generator | None
) -> Tensor:
    """Degrees of a hidden layer; drawn ones are not below all of the layer before."""
    if draw is None:
        return torch.arange(width, device="cpu") % max(1, num_dims - lowest) + lowest
    if lowest:
        lowest = min(int(before.min()), num_dims - 1)
    degrees = torch.randint(lowest, num_dims, (width,), generator=draw, device="cpu")
    degrees[0] = lowest  # so that some way leads from a context to the first element
    return degrees
