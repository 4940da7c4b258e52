"""The invertible modules of DenseFlow and the units that they form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor

from flowbench_models.bijections.actnorm import ActNorm
from flowbench_models.bijections.base import Bijection, Composition, sum_event_dims
from flowbench_models.bijections.elementwise import ElementwiseMap
from flowbench_models.bijections.folding import fold_mixings
from flowbench_models.bijections.permutation import FullConv1x1, mix_channels
from flowbench_models.nets.checkpointing import run_checkpointed
from flowbench_models.nets.conditioner import Conditioner
from flowbench_models.nets.precision import full_precision


class SwapCoupling(Bijection):
    r"""Coupling of channels that also swaps its halves, :math:`(x_a, x_b) \mapsto (z_b, x_a)`.

    Of an odd number of channels the first half gets the rest.

    Args:
        law: What happens to each transformed element.
        conditioner: Maps x_a of shape (B, C_a, H, W) to (B, num_parameters * C_b, H, W).
        checkpointing: Whether the conditioner's activations are recomputed in the backward pass.
    """

    def __init__(
        self, law: ElementwiseMap, conditioner: Conditioner, *, checkpointing: bool = False
    ) -> None:
        super().__init__()
        self.law = law
        self.conditioner = conditioner
        self.checkpointing = checkpointing

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, H, W) to latent; see `Bijection.forward`."""
        z, log_derivative = self.couple(x)
        return z, sum_event_dims(log_derivative)

    def couple(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As ``forward``, with the ladj not summed yet.

        Args:
            x: Data, shape (B, C, H, W).

        Returns:
            z, and log dz/dx of each transformed element, shape (B, C_b, H, W), in nats.
        """
        num_transformed = x.shape[1] // 2
        passing, transformed = torch.split(
            x, [x.shape[1] - num_transformed, num_transformed], dim=1
        )
        transformed, log_derivative = self.law(transformed, self._condition(passing))
        return torch.cat((transformed, passing), dim=1), log_derivative

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        num_transformed = z.shape[1] // 2
        transformed, passing = torch.split(
            z, [num_transformed, z.shape[1] - num_transformed], dim=1
        )
        transformed = self.law.inverse(transformed, self._condition(passing))
        return torch.cat((passing, transformed), dim=1)

    def _condition(self, passing: Tensor) -> Tensor:
        if self.checkpointing and self.training:
            parameters = run_checkpointed(self.conditioner, passing)
        else:
            parameters = self.conditioner(passing)
        return parameters.to(passing.dtype)


class FlowModule(Composition):
    """One invertible module: actnorm, 1x1 convolution, coupling with a swap of halves.

    Args:
        num_channels: Size C of axis 1.
        coupling: The coupling.

    References:
        Grcic et al. (2021), Densely connected normalizing flows,
        https://arxiv.org/abs/2106.04627, section 3.2 and figure 2.
    """

    def __init__(self, num_channels: int, coupling: SwapCoupling) -> None:
        super().__init__([ActNorm(num_channels), FullConv1x1(num_channels), coupling])

    @property
    def norm(self) -> ActNorm:
        """The activation normalisation."""
        return cast(ActNorm, self.bijections[0])

    @property
    def mixing(self) -> FullConv1x1:
        """The 1x1 convolution."""
        return cast(FullConv1x1, self.bijections[1])

    @property
    def coupling(self) -> SwapCoupling:
        """The coupling."""
        return cast(SwapCoupling, self.bijections[2])


class FlowUnit(Composition):
    """Invertible modules of one shape, their actnorms and 1x1 convolutions folded together.

    Args:
        modules: The modules, in the order from data to latent.
    """

    def __init__(self, modules: Iterable[FlowModule]) -> None:
        super().__init__(modules)

    def flow_modules(self) -> list[FlowModule]:
        """The modules, in order."""
        return cast("list[FlowModule]", list(self.bijections))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, H, W) to latent; see `Bijection.forward`."""
        modules = self.flow_modules()
        mixings = fold_mixings([m.norm for m in modules], [m.mixing for m in modules])
        ladj = x.shape[2] * x.shape[3] * mixings.log_abs_det
        for module, matrix, offset in zip(modules, mixings.matrices, mixings.offsets, strict=True):
            with full_precision(x):
                x = mix_channels(x, matrix, offset)
            x, log_derivative = module.coupling.couple(x)
            ladj = ladj + sum_event_dims(log_derivative)
        return x, ladj
