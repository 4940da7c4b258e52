"""The steps of Glow: actnorm, 1x1 convolution, coupling; all steps of a scale folded together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor

from flowbench_models.bijections.actnorm import ActNorm
from flowbench_models.bijections.base import Composition
from flowbench_models.bijections.coupling import HalfCoupling
from flowbench_models.bijections.elementwise import Shift
from flowbench_models.bijections.folding import fold_mixings
from flowbench_models.bijections.permutation import InvertibleConv1x1, mix_channels
from flowbench_models.nets.checkpointing import run_checkpointed
from flowbench_models.nets.convnet import GlowConvNet, Kernel
from flowbench_models.nets.precision import full_precision


class GlowStep(Composition):
    """One step of flow: actnorm, 1x1 convolution, coupling.

    Args:
        norm: The activation normalisation.
        mixing: The 1x1 convolution.
        coupling: The coupling, conditioned by a `GlowConvNet`.

    References:
        Kingma and Dhariwal (2018), Glow, https://arxiv.org/abs/1807.03039, figure 2a.
    """

    def __init__(self, norm: ActNorm, mixing: InvertibleConv1x1, coupling: HalfCoupling) -> None:
        super().__init__([norm, mixing, coupling])

    @property
    def norm(self) -> ActNorm:
        """The activation normalisation."""
        return cast(ActNorm, self.bijections[0])

    @property
    def mixing(self) -> InvertibleConv1x1:
        """The 1x1 convolution."""
        return cast(InvertibleConv1x1, self.bijections[1])

    @property
    def coupling(self) -> HalfCoupling:
        """The coupling."""
        return cast(HalfCoupling, self.bijections[2])

    @property
    def net(self) -> GlowConvNet:
        """The coupling's network."""
        return cast(GlowConvNet, self.coupling.conditioner)


class GlowSteps(Composition):
    r"""Several steps of one shape, one after the other, at less cost than one by one.

    Actnorm and 1x1 convolution are one affine map of channels, :math:`W(s \odot x + o) = (W
    \mathrm{diag}(s)) x + W o`. That map, the networks' weights with their own norms, and the parts
    of ladj that do not depend on data are computed for all steps at once.

    Args:
        steps: The steps, in the order from data to latent.
        checkpointing: Whether the networks' activations are recomputed in the backward pass.
    """

    def __init__(self, steps: Iterable[GlowStep], *, checkpointing: bool = False) -> None:
        super().__init__(steps)
        self.checkpointing = checkpointing

    def steps(self) -> list[GlowStep]:
        """The steps, in order."""
        return cast("list[GlowStep]", list(self.bijections))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, H, W) to latent; see `Bijection.forward`."""
        steps = self.steps()
        mixings = fold_mixings([step.norm for step in steps], [step.mixing for step in steps])
        kernels = GlowConvNet.fold([step.net for step in steps])
        log_derivatives = []
        each = zip(steps, mixings.matrices, mixings.offsets, kernels, strict=True)
        for step, matrix, offset, net in each:
            with full_precision(x):
                x = mix_channels(x, matrix, offset)
            x, log_derivative = step.coupling.couple(x, self._conditioner(step.net, net))
            if not isinstance(step.coupling.law, Shift):  # there it is zero
                log_derivatives.append(log_derivative)
        ladj = x.shape[2] * x.shape[3] * mixings.log_abs_det
        if not log_derivatives:
            return x, ladj.expand(len(x))
        return x, torch.stack(log_derivatives).sum(dim=(0, 2, 3, 4)) + ladj  # of (K, B, C, H, W)

    def _conditioner(
        self, net: GlowConvNet, kernels: Sequence[Kernel]
    ) -> Callable[[Tensor], Tensor]:
        run = partial(net.run, kernels)
        if self.checkpointing and self.training:
            return partial(run_checkpointed, net, run=run)
        return run
