"""NanoFlow's density estimator: one network for all steps of a scale, modulated step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench_models.bijections.actnorm import ActNorm
from flowbench_models.nets.convnet import ActNormConv2d, Kernel, ZeroConv2d
from flowbench_models.nets.convolution import convolve


class FlowIndication(nn.Module):
    r"""What tells a shared estimator which step it works for: an embedding and gates.

    The embedding is an image that joins the network's input, behind an actnorm of its own; the
    gates multiply hidden channels by :math:`e^{\delta}`.

    Args:
        shape: Shape (E, H, W) of the embedding.
        gate_rows: Hidden layers with gates; more than there are have no effect.
        width: Hidden channels.

    References:
        Lee et al. (2020), NanoFlow, https://arxiv.org/abs/2006.06280, section 3.3; the actnorm is
        in the released code alone.
    """

    def __init__(self, shape: tuple[int, int, int], *, gate_rows: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(1, *shape))
        self.norm = ActNorm(shape[0])
        self.gates = nn.Parameter(torch.zeros(gate_rows, width))

    @staticmethod
    def embeddings(indications: Sequence[FlowIndication]) -> Tensor:
        """Normalised embeddings of several steps, shape (K, E, H, W)."""
        _, scale, offset = ActNorm.as_affine([indication.norm for indication in indications])
        images = torch.cat([indication.embedding for indication in indications])
        return images * scale[:, :, None, None] + offset[:, :, None, None]

    def initialize(self) -> None:
        """Normalises the embedding by its mean and standard deviation over positions.

        A single position has no deviation: there the norm stays the identity.
        """
        if self.embedding[0, 0].numel() > 1:
            self.norm.initialize(self.embedding)


class SharedEstimator(nn.Module):
    r"""Hidden convolutions with actnorm and ReLU, run once for each step with other gates.

    Layer j of step k computes :math:`\mathrm{relu}(e^{\delta_{kj}} (w_j * h + b_j) e^{s_j})`. Norm
    and gate are folded into the weights, which are smaller than the activations.

    Args:
        num_inputs: Input channels, those of an embedding included.
        width: Hidden channels.
        hidden_kernels: Kernel size of each convolution.
        dropout: Part of hidden channels that are dropped in training.

    References:
        Lee et al. (2020), NanoFlow, https://arxiv.org/abs/2006.06280, section 3.2.
    """

    def __init__(
        self,
        num_inputs: int,
        *,
        width: int,
        hidden_kernels: Sequence[int],
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        inputs = (num_inputs, *(width for _ in hidden_kernels))
        self.layers = nn.ModuleList(
            ActNormConv2d(before, width, kernel)
            for before, kernel in zip(inputs, hidden_kernels, strict=False)
        )

    def fold(self, indications: Sequence[FlowIndication], num_steps: int) -> list[list[Kernel]]:
        """The convolutions that the network amounts to in each step.

        Args:
            indications: One for each step; without any all steps share the same kernels.
            num_steps: Number K of steps.

        Returns:
            For each step weight and bias of the convolutions, in order.
        """
        shared = [ActNormConv2d.fold([layer])[0] for layer in self.conv_layers()]
        if not indications:
            return [shared] * num_steps
        gates = torch.stack([indication.gates for indication in indications]).exp()  # (K, J, W)
        layers = []
        for index, (weight, bias) in enumerate(shared):
            gate = gates[:, index]
            weights = weight * gate[..., None, None, None]  # (K, W, C, k, k)
            layers.append(list(zip(weights.unbind(), (bias * gate).unbind(), strict=True)))
        return [list(kernels) for kernels in zip(*layers, strict=True)]

    def forward(self, kernels: Sequence[Kernel], h: Tensor) -> Tensor:
        """Runs the network for one step.

        Args:
            kernels: That step's part of ``fold``.
            h: Shape (B, num_inputs, H, W).

        Returns:
            Hidden features, shape (B, width, H, W).
        """
        for weight, bias in kernels:
            h = self._drop(convolve(h, weight, bias, rectify=True))
        return h

    def initialize(self, h: Tensor, indication: FlowIndication | None) -> Tensor:
        """Normalises layer by layer; once that is done a further step only runs through.

        Args:
            h: Input of the step, shape (B, num_inputs, H, W).
            indication: The step's own.

        Returns:
            Hidden features, shape (B, width, H, W).
        """
        for index, layer in enumerate(self.conv_layers()):
            h = layer.initialize(h)
            if indication is not None:  # a gate is positive, so it may follow the ReLU
                h = h * indication.gates[index].exp().view(1, -1, 1, 1)
        return h

    def conv_layers(self) -> list[ActNormConv2d]:
        """The convolutions, in order."""
        return cast("list[ActNormConv2d]", list(self.layers))

    def _drop(self, h: Tensor) -> Tensor:
        return F.dropout2d(h, self.dropout, self.training) if self.dropout else h


def fold_projections(projections: Sequence[ZeroConv2d]) -> list[Kernel]:
    """Weight and bias of each step's projection; one projection may serve all steps.

    Args:
        projections: One for each step, the same object again where it is shared.

    Returns:
        One convolution a step.
    """
    if all(projection is projections[0] for projection in projections):
        return ZeroConv2d.fold(projections[:1]) * len(projections)
    return ZeroConv2d.fold(projections)
