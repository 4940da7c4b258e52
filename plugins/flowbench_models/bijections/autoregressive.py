"""Autoregressive bijections: each element is transformed given the elements before it."""

from __future__ import annotations

import torch
from torch import Tensor

from flowbench_models.bijections.base import ConditionalBijection, ElementwiseMap, sum_event_dims
from flowbench_models.nets.made import MADE


class Autoregressive(ConditionalBijection):
    r"""Transforms each element of a vector given those before it.

    .. math:: z_i = f(x_i;\, \theta(x_{<i})), \qquad
              \mathrm{ladj} = \sum_i \log \partial f(x_i) / \partial x_i

    ``forward`` takes one pass of the network. ``inverse`` goes element by element; it computes each
    hidden unit once, as soon as all that the unit sees is known.

    Args:
        law: What happens to each element.
        net: From the elements (B, D) to the parameters (B, num_parameters * D).

    Example:
        >>> from flowbench_models.bijections.base import SigmoidAffine
        >>> flow = Autoregressive(SigmoidAffine(), MADE(3, 16, 1, num_parameters=2))
        >>> x = torch.randn(5, 3)
        >>> z, ladj = flow(x)
        >>> torch.allclose(flow.inverse(z), x, atol=1e-5)
        True

    References:
        Papamakarios et al. (2017), Masked Autoregressive Flow for Density Estimation,
        https://arxiv.org/abs/1705.07057, section 3.1.
    """

    def __init__(self, law: ElementwiseMap, net: MADE) -> None:
        super().__init__()
        self.law = law
        self.net = net

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, D) to latent; see `ConditionalBijection.forward`."""
        z, log_derivative = self.law(x, self.net(x, context).to(x.dtype))
        return z, sum_event_dims(log_derivative)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps latent to data, element by element."""
        return self.solve(z, context)[0]

    def solve(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps latent to data, and gives the parameters that were found on the way.

        Args:
            z: Latent, shape (B, D).
            context: Shape (B, num_context).

        Returns:
            x, shape (B, D), and parameters, shape (B, num_parameters * D).
        """
        in_turn = self.net.in_turn(len(z), context)
        ordered = z.index_select(1, self.net.order)
        values, parameters = [], []
        for latent in ordered.split(1, dim=1):
            of_element = in_turn.parameters().to(z.dtype)
            value = self.law.inverse(latent, of_element)
            in_turn.append(value)
            values.append(value)
            parameters.append(of_element)
        back = self.net.order.argsort()
        x = torch.cat(values, dim=1).index_select(1, back)
        return x, torch.stack(parameters, dim=2).index_select(2, back).flatten(1)


class InverseAutoregressive(ConditionalBijection):
    r"""The same transform with its directions exchanged: each element given the *latents* before.

    .. math:: x_i = f(z_i;\, \theta(z_{<i}))

    ``inverse``, which samples, takes one pass of the network; ``forward``, which scores, goes
    element by element.

    Args:
        autoregressive: The transform, from latent to data.

    Example:
        >>> from flowbench_models.bijections.base import SigmoidAffine
        >>> net = MADE(3, 16, 1, num_parameters=2)
        >>> flow = InverseAutoregressive(Autoregressive(SigmoidAffine(), net))
        >>> z = torch.randn(5, 3)
        >>> torch.allclose(flow(flow.inverse(z))[0], z, atol=1e-5)
        True

    References:
        Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow,
        https://arxiv.org/abs/1606.04934, section 3.
    """

    def __init__(self, autoregressive: Autoregressive) -> None:
        super().__init__()
        self.autoregressive = autoregressive

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, D) to latent; see `ConditionalBijection.forward`."""
        z, parameters = self.autoregressive.solve(x, context)
        _, log_derivative = self.autoregressive.law(z, parameters)
        return z, -sum_event_dims(log_derivative)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps latent to data."""
        x: Tensor = self.autoregressive(z, context)[0]
        return x

    def inverse_with_ladj(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps latent to data in one pass, which knows the derivatives."""
        x, ladj = self.autoregressive(z, context)
        return x, -ladj
