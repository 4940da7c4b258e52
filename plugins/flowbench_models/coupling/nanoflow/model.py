"""NanoFlow: Glow whose steps share one density estimator a scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench.api import DatasetInfo
from flowbench_models.bijections.base import Bijection, Composition, SigmoidAffine, sum_event_dims
from flowbench_models.bijections.channels import (
    ActNorm,
    FactorOut,
    PLUConv1x1,
    Squeeze,
    fold_mixings,
    mix_channels,
)
from flowbench_models.bijections.multiscale import MultiScale, MultiScaleModel
from flowbench_models.coupling.glow.model import ActNormConv2d, TopPrior
from flowbench_models.coupling.nanoflow.config import NanoFlowConfig
from flowbench_models.nets.convolution import Kernel, ZeroConv2d, convolve, full_precision
from flowbench_models.nets.sharing import Indication


class NanoFlow(MultiScaleModel):
    r"""NanoFlow.

    Glow's scales and steps, but the coupling networks of a scale share their hidden layers. A step
    has its own projection to shift and scale, and is told to the shared layers by an embedding at
    their input and by gates on their channels.

    Raises:
        ConfigError: The configuration does not fit the data.

    References:
        Lee et al. (2020), NanoFlow: Scalable Normalizing Flows with Sublinear Parameter Complexity,
        https://arxiv.org/abs/2006.06280, sections 3 and 4.2. Mean and log-scale of couplings and
        priors are halves of their network's channels, where the released code takes even and odd
        channels.
    """

    config: NanoFlowConfig

    def __init__(self, config: NanoFlowConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        shapes = self._scale_shapes()
        scales = [
            Composition([Squeeze(), NanoFlowSteps(config, shape, level)])
            for level, shape in enumerate(shapes)
        ]
        if config.learn_top:
            scales[-1].bijections.append(TopPrior(shapes[-1][0]))
        splits = [FactorOut(ZeroConv2d(shape[0] // 2, shape[0])) for shape in shapes[:-1]]
        self.flow = MultiScale(scales, splits)

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One latent a scale; each but the last has half of that scale's channels."""
        shapes = self._scale_shapes()
        halves = [(channels // 2, height, width) for channels, height, width in shapes[:-1]]
        return (*halves, shapes[-1])

    def _scale_shapes(self) -> list[tuple[int, int, int]]:
        channels, height, width = self.data.event_shape
        return [
            (channels * 4 * 2**level, height >> (level + 1), width >> (level + 1))
            for level in range(self.config.levels)
        ]


class NanoFlowSteps(Bijection):
    """The steps of one scale and the estimator that they share.

    Args:
        shape: Shape (C, H, W) of the scale's data, squeezed.
        level: Index of the scale.

    Example:
        >>> steps = NanoFlowSteps(NanoFlowConfig(steps=2, width=8), (4, 2, 2), level=0)
        >>> x = torch.randn(3, 4, 2, 2)
        >>> z, ladj = steps(x)
        >>> torch.allclose(steps.inverse(z), x, atol=1e-4)
        True
    """

    def __init__(self, config: NanoFlowConfig, shape: tuple[int, int, int], level: int) -> None:
        super().__init__()
        channels, height, width = shape
        embedding = config.embedding * 2**level
        self.norms = nn.ModuleList(ActNorm(channels) for _ in range(config.steps))
        self.mixings = nn.ModuleList(PLUConv1x1(channels) for _ in range(config.steps))
        self.estimator = SharedEstimator(
            channels // 2 + embedding,
            width=config.width,
            hidden_kernels=config.hidden_kernels,
            dropout=config.dropout,
        )
        self.indications = nn.ModuleList(
            FlowIndication(
                (embedding, height, width),
                gate_rows=config.gate_rows or len(config.hidden_kernels),
                width=config.width,
            )
            # Embeddings and gates go together: either alone would tell the steps apart.
            for _ in range(config.steps if embedding else 0)
        )
        self.projections = nn.ModuleList(
            ZeroConv2d(config.width, channels, config.output_kernel)
            for _ in range(1 if config.shared_projection else config.steps)
        )
        self.law = SigmoidAffine()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, H, W) to latent; see `Bijection.forward`."""
        mixings = fold_mixings(self._norms(), self._mixings())
        ladj = x.shape[2] * x.shape[3] * mixings.log_abs_det
        steps = zip(mixings.matrices, mixings.offsets, self._networks(), strict=True)
        for matrix, offset, network in steps:
            with full_precision(x):
                x = mix_channels(x, matrix, offset)
            passing, transformed = x.chunk(2, dim=1)
            transformed, log_derivative = self.law(transformed, self._run(network, passing))
            x = torch.cat((passing, transformed), dim=1)
            ladj = ladj + sum_event_dims(log_derivative)
        return x, ladj

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        steps = list(zip(self._norms(), self._mixings(), self._networks(), strict=True))
        for norm, mixing, network in reversed(steps):
            passing, transformed = z.chunk(2, dim=1)
            transformed = self.law.inverse(transformed, self._run(network, passing))
            z = torch.cat((passing, transformed), dim=1)
            z = norm.inverse(mixing.inverse(z))
        return z

    def initialize(self, x: Tensor) -> Tensor:
        """Initialises step by step; the estimator, once, in the first of them."""
        for each in self._indications():
            each.initialize()
        indications: Sequence[FlowIndication | None]
        indications = self._indications() or [None] * len(self.norms)
        steps = zip(self._norms(), self._mixings(), indications, self._projections(), strict=True)
        for norm, mixing, indication, projection in steps:
            # Step by step and unfolded: each norm is set from what the steps before it make of the
            # batch.
            x = mixing.initialize(norm.initialize(x))
            passing, transformed = x.chunk(2, dim=1)
            embedding = None if indication is None else FlowIndication.embeddings([indication])
            h = self.estimator.initialize(_with_embedding(passing, embedding), indication)
            transformed, _ = self.law(transformed, projection(h))
            x = torch.cat((passing, transformed), dim=1)
        return x

    def _networks(self) -> list[tuple[Tensor | None, list[Kernel], Kernel]]:
        """Embedding, shared kernels and projection of each step, computed for all at once."""
        indications, num_steps = self._indications(), len(self.norms)
        kernels = self.estimator.fold(indications, num_steps)
        projections = fold_projections(self._projections())
        images: Sequence[Tensor | None] = [None] * num_steps
        if indications:
            images = torch.split(FlowIndication.embeddings(indications), 1)
        return list(zip(images, kernels, projections, strict=True))

    def _run(self, network: tuple[Tensor | None, list[Kernel], Kernel], passing: Tensor) -> Tensor:
        embedding, kernels, (weight, bias) = network
        h = self.estimator(kernels, _with_embedding(passing, embedding))
        return convolve(h, weight, bias).to(passing.dtype)

    def _norms(self) -> list[ActNorm]:
        return cast("list[ActNorm]", list(self.norms))

    def _mixings(self) -> list[PLUConv1x1]:
        return cast("list[PLUConv1x1]", list(self.mixings))

    def _indications(self) -> list[FlowIndication]:
        return cast("list[FlowIndication]", list(self.indications))

    def _projections(self) -> list[ZeroConv2d]:
        """One a step, the same one again where it is shared."""
        projections = cast("list[ZeroConv2d]", list(self.projections))
        # The same object again, by which `fold_projections` knows that it is shared.
        return projections * (len(self.norms) // len(projections))


def _with_embedding(passing: Tensor, embedding: Tensor | None) -> Tensor:
    if embedding is None:
        return passing
    expanded = embedding.to(passing.dtype).expand(passing.shape[0], -1, -1, -1)
    return torch.cat((passing, expanded), dim=1)


class FlowIndication(Indication):
    r"""An indication whose embedding is an image that joins the network's input.

    It does so behind an actnorm of its own; the gates multiply hidden channels.

    Args:
        shape: Shape (E, H, W) of the embedding.
        gate_rows: Hidden layers with gates; more than there are have no effect.
        width: Hidden channels.

    References:
        Lee et al. (2020), NanoFlow, https://arxiv.org/abs/2006.06280, section 3.3; the actnorm is
        in the released code alone.
    """

    def __init__(self, shape: tuple[int, int, int], *, gate_rows: int, width: int) -> None:
        super().__init__(torch.randn(1, *shape), gate_rows=gate_rows, width=width)
        self.norm = ActNorm(shape[0])

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
        # Once for all steps: what differs between them is the gates alone.
        shared = [ActNormConv2d.fold([layer])[0] for layer in self.conv_layers()]
        if not indications:
            return [shared] * num_steps
        gates = Indication.factors(indications)  # (K, J, W)
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
            h = self._drop(convolve(h, weight, bias).relu())
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
