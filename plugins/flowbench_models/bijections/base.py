"""Bijections, their composition, and couplings of two halves under an elementwise law."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from flowbench_models.nets.convolution import Conditioner


class Bijection(nn.Module):
    r"""An invertible map :math:`z = f(x)` between tensors whose batch axis is the first.

    ``forward`` maps data to latent, ``inverse`` latent to data. Only ``forward`` gives the ladj:
    likelihoods never run a flow backwards, and sampling does not need it.
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latent.

        Args:
            x: Data, shape (B, ...).

        Returns:
            z, and ladj = log |det dz/dx| summed over event dims, shape (B,), in nats.
        """
        raise NotImplementedError

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data.

        Args:
            z: Latent, as ``forward`` returns it.

        Returns:
            x, up to rounding what ``forward`` was given.
        """
        raise NotImplementedError

    def initialize(self, x: Tensor) -> Tensor:
        """Sets whatever depends on data from a first batch; by default there is nothing to set.

        Args:
            x: Data, shape (B, ...).

        Returns:
            z of the initialised map, so that the next bijection can be initialised from it.
        """
        z: Tensor = self(x)[0]
        return z


class Composition(Bijection):
    r"""Bijections one after the other, :math:`f = f_n \circ \dots \circ f_1`; their ladj add up.

    Args:
        bijections: In the order from data to latent.
    """

    def __init__(self, bijections: Iterable[Bijection]) -> None:
        super().__init__()
        self.bijections = nn.ModuleList(bijections)

    def _parts(self) -> list[Bijection]:
        return cast("list[Bijection]", list(self.bijections))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latent; see `Bijection.forward`."""
        ladj = x.new_zeros(x.shape[0])
        for bijection in self._parts():
            x, term = bijection(x)
            ladj = ladj + term
        return x, ladj

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data, the last bijection first."""
        for bijection in reversed(self._parts()):
            z = bijection.inverse(z)
        return z

    def initialize(self, x: Tensor) -> Tensor:
        """Initialises each bijection from the output of those before it."""
        for bijection in self._parts():
            x = bijection.initialize(x)
        return x


def sum_event_dims(values: Tensor) -> Tensor:
    """Sums over all axes but the first, without the copy that flattening channels-last would make.

    Args:
        values: Shape (B, ...), at least two axes.

    Returns:
        The sums, shape (B,).
    """
    return values.sum(dim=tuple(range(1, values.ndim)))


class ElementwiseMap(nn.Module):
    r"""An increasing map :math:`z_i = f(x_i; \theta_i)` of each element.

    Parameters come stacked along axis 1: those of one kind for all channels, then the next kind.

    Attributes:
        num_parameters: Parameters for each element.
    """

    num_parameters: int

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latent.

        Args:
            x: Data, shape (B, C, ...).
            parameters: Shape (B, num_parameters * C, ...).

        Returns:
            z, and log dz/dx of each element in nats, both of the shape of x.
        """
        raise NotImplementedError

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        """Maps latent to data.

        Args:
            z: Latent, shape (B, C, ...).
            parameters: Shape (B, num_parameters * C, ...).

        Returns:
            x, of the shape of z.
        """
        raise NotImplementedError


class Shift(ElementwiseMap):
    r"""Additive coupling law, :math:`z = x + t`.

    References:
        Dinh et al. (2014), NICE: Non-linear Independent Components Estimation,
        https://arxiv.org/abs/1410.8516, section 3.2.
    """

    num_parameters = 1

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latent; see `ElementwiseMap.forward`."""
        return x + parameters, torch.zeros_like(x)

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        """Maps latent to data."""
        return z - parameters


class SigmoidAffine(ElementwiseMap):
    r"""Affine law of Glow's released code, :math:`z = (x + t)\,\sigma(s + 2)`.

    The offset of 2 starts a zero-initialised coupling near the identity, and the sigmoid keeps the
    scale below 1, so that densities cannot blow up.

    References:
        Kingma and Dhariwal (2018), Glow, https://arxiv.org/abs/1807.03039, table 1 (which leaves
        the form of the scale open).
    """

    num_parameters = 2
    offset = 2.0

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latent; see `ElementwiseMap.forward`."""
        z, log_scale = _SigmoidAffine.apply(x, parameters, self.offset)
        return z, log_scale

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        """Maps latent to data."""
        shift, raw = parameters.chunk(2, dim=1)
        return z / _scale(raw, self.offset) - shift


def _scale(raw: Tensor, offset: float) -> Tensor:
    """The scale kept off 0, so that its log is finite: on a CPU 6 times faster than logsigmoid.

    What that costs is an absolute error of one rounding in the log of scales near 1.
    """
    scale = (raw + offset).sigmoid_()
    return scale.clamp_min(torch.finfo(scale.dtype).tiny)


class _SigmoidAffine(torch.autograd.Function):
    r"""`SigmoidAffine` with a backward pass of a fourth of the operations that autograd would take.

    .. math:: g_x = g_t = a\, g_z, \qquad g_s = (1 - a)(g_l + z\, g_z)

    with g for gradients, the scale :math:`a = \sigma(s + 2)` and :math:`l = \log a`.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, parameters: Tensor, offset: float) -> tuple[Tensor, Tensor]:
        shift, raw = parameters.chunk(2, dim=1)
        scale = _scale(raw, offset)
        z = (x + shift).mul_(scale)
        ctx.save_for_backward(z, scale)
        return z, scale.log()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_z: Tensor, grad_log: Tensor) -> tuple[Tensor, Tensor, None]:
        z, scale = ctx.saved_tensors
        grad = empty_parameters(z)
        grad_shift, grad_raw = grad.chunk(2, dim=1)
        torch.mul(grad_z, scale, out=grad_shift)
        of_log_scale = torch.addcmul(grad_log, grad_z, z)
        torch.addcmul(of_log_scale, of_log_scale, scale, value=-1.0, out=grad_raw)
        return grad_shift, grad, None


def empty_parameters(x: Tensor) -> Tensor:
    """Room for two parameters for each element.

    Args:
        x: Shape (B, C, ...).

    Returns:
        Not initialised, shape (B, 2 * C, ...), channels-last if x is.
    """
    shape = (x.shape[0], 2 * x.shape[1], *x.shape[2:])
    like_images = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if like_images else torch.contiguous_format
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout)


def half_sizes(num_channels: int, *, swap: bool) -> tuple[int, int]:
    """Sizes of the two parts of a `HalfCoupling`; of an odd number the first half gets the rest.

    Args:
        num_channels: Size C of axis 1.
        swap: As in `HalfCoupling`.

    Returns:
        Number of channels that condition, and number of channels that are transformed.
    """
    second = num_channels // 2
    first = num_channels - second
    return (second, first) if swap else (first, second)


class HalfCoupling(Bijection):
    """Coupling between the two halves of axis 1: of channels, or of a vector's elements.

    Args:
        law: What happens to each transformed element.
        conditioner: Maps the conditioning half (B, C_a, ...) to (B, num_parameters * C_b, ...).
        swap: Whether the second half conditions the first, rather than the first the second.
    """

    def __init__(self, law: ElementwiseMap, conditioner: Conditioner, *, swap: bool) -> None:
        super().__init__()
        self.law = law
        self.conditioner = conditioner
        self.swap = swap

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, ...) to latent; see `Bijection.forward`."""
        z, log_derivative = self.couple(x, self.conditioner)
        return z, sum_event_dims(log_derivative)

    def couple(self, x: Tensor, conditioner: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Maps data to latent with another conditioner, such as the own one in another form.

        Args:
            x: Data, shape (B, C, ...).
            conditioner: Maps the conditioning half to parameters.

        Returns:
            z, and log dz/dx of each transformed element, shape (B, C_b, ...), in nats.
        """
        conditioning, transformed = self._split(x)
        parameters = conditioner(conditioning).to(x.dtype)
        transformed, log_derivative = self.law(transformed, parameters)
        return self._merge(conditioning, transformed), log_derivative

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        conditioning, transformed = self._split(z)
        parameters = self.conditioner(conditioning).to(z.dtype)
        return self._merge(conditioning, self.law.inverse(transformed, parameters))

    def initialize(self, x: Tensor) -> Tensor:
        """Initialises the conditioner from the half that it sees."""
        conditioning, _ = self._split(x)
        self.conditioner.initialize(conditioning)
        z: Tensor = self(x)[0]
        return z

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        second = x.shape[1] // 2
        a, b = torch.split(x, [x.shape[1] - second, second], dim=1)
        return (b, a) if self.swap else (a, b)

    def _merge(self, conditioning: Tensor, transformed: Tensor) -> Tensor:
        parts = (transformed, conditioning) if self.swap else (conditioning, transformed)
        return torch.cat(parts, dim=1)
