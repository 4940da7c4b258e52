"""Layers whose Lipschitz constants are bounded, and the power iteration that keeps them so."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench_models.nets.convolution import convolve

MOST_ITERATIONS = 200  # of a power iteration; released code
STEEPEST = 1.1
"""Just above the largest slope of a swish, which is the same whatever its beta."""

CONCATENATED = 1.004
"""Bound on the length of the slopes of a LipSwish at x and at -x together."""


class LipSwish(nn.Module):
    r"""A swish of Lipschitz constant 1, :math:`x\,\sigma(\mathrm{softplus}(\beta)\,x) / 1.1`.

    Its slope is not constant anywhere, so that second derivatives do not vanish where the first are
    largest.

    Example:
        >>> LipSwish()(torch.tensor([0.0, 100.0])).detach()
        tensor([ 0.0000, 90.9091])

    References:
        Chen et al. (2019), Residual Flows for Invertible Generative Modeling,
        https://arxiv.org/abs/1906.02735, section 3.3.
    """

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.tensor([0.5]))

    def forward(self, h: Tensor) -> Tensor:
        """Activates a tensor of any shape."""
        beta = F.softplus(self.beta)
        # The same as a swish of beta = 1 in other units, which is one operation of torch.
        return F.silu(beta * h) / (STEEPEST * beta)


class ConcatenatedLipSwish(nn.Module):
    r"""LipSwish of x and -x along axis 1, of Lipschitz constant 1: (B, C, ...) to (B, 2C, ...).

    Example:
        >>> ConcatenatedLipSwish()(torch.zeros(5, 3, 4, 4)).shape
        torch.Size([5, 6, 4, 4])

    References:
        Perugachi-Diaz et al. (2021), Invertible DenseNets with Concatenated LipSwish,
        https://arxiv.org/abs/2102.02694, section 3.3.
    """

    def __init__(self) -> None:
        super().__init__()
        self.swish = LipSwish()

    def forward(self, h: Tensor) -> Tensor:
        """Activates (B, C, ...)."""
        activated: Tensor = self.swish(torch.cat((h, -h), dim=1)) / CONCATENATED
        return activated


class SpectralLayer(nn.Module):
    r"""A linear layer of spectral norm at most c: :math:`W / \max(1, \sigma / c)`.

    :math:`\sigma = u^\top W v` with the singular vectors that `normalize_layers` finds. They are
    buffers that no gradient reaches, but :math:`\sigma` is a function of W, and is differentiated.

    Args:
        weight: W, of any shape.
        coefficient: The bound c.
        inputs: Shape of what W is applied to, without the batch axis.
        outputs: Shape of what it gives.
    """

    u: Tensor
    v: Tensor

    def __init__(
        self,
        weight: Tensor,
        coefficient: float,
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.empty(len(weight)))
        self.coefficient = coefficient
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # torch's own start, as released
        bound = weight[0].numel() ** -0.5
        nn.init.uniform_(self.bias, -bound, bound)
        self.register_buffer("u", _unit(torch.randn(1, *outputs)))
        self.register_buffer("v", _unit(torch.randn(1, *inputs)))

    def apply_weight(self, weight: Tensor, h: Tensor, bias: Tensor | None = None) -> Tensor:
        """Applies a weight of W's shape to a batch of inputs."""
        raise NotImplementedError

    def apply_transposed(self, weight: Tensor, h: Tensor) -> Tensor:
        """Applies the transposed map to a batch of outputs."""
        raise NotImplementedError

    def norm(self) -> Tensor:
        """The spectral norm of W along the singular vectors, shape ()."""
        return (self.u * self.apply_weight(self.weight, self.v)).sum()

    def bounded_weight(self) -> Tensor:
        """The weight as it is used."""
        return self.weight / (self.norm() / self.coefficient).clamp_min(1.0)

    def forward(self, h: Tensor) -> Tensor:
        """Maps a batch of inputs to outputs."""
        return self.apply_weight(self.bounded_weight(), h, self.bias)

    def iterate(self) -> Tensor:
        """Takes one step of the power iteration.

        Returns:
            By which part of itself the norm grows from W v to its transposed: 0 at a singular
            vector. Shape ().
        """
        image = self.apply_weight(self.weight, self.v)
        self.u.copy_(_unit(image))
        back = self.apply_transposed(self.weight, self.u)
        self.v.copy_(_unit(back))
        before, after = torch.linalg.vector_norm(image), torch.linalg.vector_norm(back)
        growth: Tensor = 1.0 - before / after.clamp_min(torch.finfo(after.dtype).tiny)
        return growth


class SpectralLinear(SpectralLayer):
    """`SpectralLayer` of vectors.

    Example:
        >>> layer = SpectralLinear(3, 5, coefficient=0.9)
        >>> layer.weight.data *= 100
        >>> normalize_layers([layer], tolerance=1e-6)
        >>> float(torch.linalg.matrix_norm(layer.bounded_weight(), 2).detach().round(decimals=4))
        0.8999999761581421
    """

    def __init__(self, num_inputs: int, num_outputs: int, *, coefficient: float) -> None:
        weight = torch.empty(num_outputs, num_inputs)
        super().__init__(weight, coefficient, (num_inputs,), (num_outputs,))

    def apply_weight(self, weight: Tensor, h: Tensor, bias: Tensor | None = None) -> Tensor:
        """Maps (B, num_inputs) to (B, num_outputs)."""
        return F.linear(h, weight, bias)

    def apply_transposed(self, weight: Tensor, h: Tensor) -> Tensor:
        """Maps (B, num_outputs) to (B, num_inputs)."""
        return h @ weight


class SpectralConv2d(SpectralLayer):
    """`SpectralLayer` of images: the norm is that of the whole convolution with its zero padding.

    Args:
        size: Height and width of the images. A 1x1 convolution has the same norm at any size, and
            is normalised at one pixel.

    Example:
        >>> SpectralConv2d(3, 8, 3, size=(4, 4), coefficient=0.98)(torch.randn(2, 3, 4, 4)).shape
        torch.Size([2, 8, 4, 4])
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        kernel_size: int,
        *,
        size: tuple[int, int],
        coefficient: float,
    ) -> None:
        weight = torch.empty(num_outputs, num_inputs, kernel_size, kernel_size)
        where = size if kernel_size > 1 else (1, 1)
        super().__init__(weight, coefficient, (num_inputs, *where), (num_outputs, *where))
        self.padding = kernel_size // 2

    def apply_weight(self, weight: Tensor, h: Tensor, bias: Tensor | None = None) -> Tensor:
        """Maps (B, num_inputs, H, W) to (B, num_outputs, H, W)."""
        return convolve(h, weight, bias)

    def apply_transposed(self, weight: Tensor, h: Tensor) -> Tensor:
        """Maps (B, num_outputs, H, W) to (B, num_inputs, H, W)."""
        return F.conv_transpose2d(h, weight, padding=self.padding)


@torch.no_grad()
def normalize_layers(
    modules: Iterable[nn.Module], *, tolerance: float, most: int = MOST_ITERATIONS
) -> None:
    """Turns the vectors of all spectral layers to the largest singular ones of their weights.

    They start where they were left, so that after a small step of the weights one or two iterations
    do. All layers go on together until each grows by less than the tolerance: a device is waited
    for once an iteration.

    Args:
        modules: Those that are spectral layers are iterated.
        tolerance: Relative growth of a norm within an iteration at which its layer is done.
        most: Iterations after which all are.
    """
    waiting = [module for module in modules if isinstance(module, SpectralLayer)]
    for _ in range(most):
        if not waiting:
            return
        growth = torch.stack([layer.iterate() for layer in waiting]).tolist()
        waiting = [
            layer for layer, part in zip(waiting, growth, strict=True) if abs(part) > tolerance
        ]


def _unit(vector: Tensor) -> Tensor:
    unit: Tensor = vector / torch.linalg.vector_norm(vector).clamp_min(
        torch.finfo(vector.dtype).tiny
    )
    return unit
