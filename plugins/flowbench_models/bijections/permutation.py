"""Permutations of channels, fixed ones and their learned generalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from flowbench_models.bijections.base import Bijection
from flowbench_models.nets.convolution import convolve


class Permutation(Bijection):
    """A fixed permutation of axis 1; its ladj is 0.

    Args:
        order: Where each output comes from: z[:, i] = x[:, order[i]].
    """

    order: Tensor
    inverse_order: Tensor

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        indices = torch.tensor(order)
        inverse = [0] * len(order)
        for target, source in enumerate(order):
            inverse[source] = target
        self.register_buffer("order", indices, persistent=False)
        self.register_buffer("inverse_order", torch.tensor(inverse), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, ...) to latent; see `Bijection.forward`."""
        return x.index_select(1, self.order), x.new_zeros(x.shape[0])

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        return z.index_select(1, self.inverse_order)


def interleaved_order(num_channels: int) -> list[int]:
    """Even positions first, then odd ones, as NICE arranges MNIST before halving it.

    Args:
        num_channels: Size of the axis.

    Returns:
        The order, for `Permutation`.
    """
    return [*range(0, num_channels, 2), *range(1, num_channels, 2)]


class InvertibleConv1x1(Bijection):
    r"""Invertible 1x1 convolution, :math:`z_{ij} = W x_{ij}`; ladj = positions * log |det W|.

    W starts as a random rotation. Subclasses say how it is parameterised.

    Args:
        num_channels: Size C of axis 1.

    References:
        Kingma and Dhariwal (2018), Glow, https://arxiv.org/abs/1807.03039, section 3.2.
    """

    @classmethod
    def matrices(cls, convolutions: Sequence[Self]) -> tuple[Tensor, Tensor]:
        """The matrices of several convolutions, built together, and their log-determinants.

        Args:
            convolutions: K convolutions of the same number of channels.

        Returns:
            W of shape (K, C, C), and log |det W| of shape (K,), in nats.
        """
        raise NotImplementedError

    def inverse_matrix(self) -> Tensor:
        """The inverse of W, shape (C, C)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, H, W) to latent; see `Bijection.forward`."""
        matrices, log_abs_det = self.matrices([self])
        ladj = (x.shape[2] * x.shape[3] * log_abs_det).expand(x.shape[0])
        return mix_channels(x, matrices[0]), ladj

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        return mix_channels(z, self.inverse_matrix())


class PLUConv1x1(InvertibleConv1x1):
    r"""1x1 convolution with :math:`W = P L (U + \mathrm{diag}(\pm e^{s}))`: log |det W| = sum(s).

    P and the signs are fixed at initialisation. L (unit lower) and U (strictly upper) are stored as
    full matrices of which one triangle is used: 2 C^2 + C numbers, as the released code counts.

    References:
        Kingma and Dhariwal (2018), Glow, https://arxiv.org/abs/1807.03039, eq. 10-11.
    """

    permutation: Tensor
    signs: Tensor
    identity: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        permutation, lower, upper = torch.linalg.lu(random_rotation(num_channels))
        diagonal = upper.diagonal().clone()
        self.register_buffer("permutation", permutation)
        self.register_buffer("signs", diagonal.sign())
        self.register_buffer("identity", torch.eye(num_channels), persistent=False)
        self.lower = nn.Parameter(lower)
        self.upper = nn.Parameter(upper.triu(1))
        self.log_diagonal = nn.Parameter(diagonal.abs().log())

    @classmethod
    def matrices(cls, convolutions: Sequence[Self]) -> tuple[Tensor, Tensor]:
        """W and log |det W|; see `InvertibleConv1x1.matrices`."""
        lower, upper, log_diagonal = cls._triangles(convolutions)
        permutation = torch.stack([convolution.permutation for convolution in convolutions])
        return permutation @ lower @ upper, log_diagonal.sum(dim=1)

    def inverse_matrix(self) -> Tensor:
        """The inverse of W from two triangular solves, shape (C, C)."""
        lower, upper, _ = self._triangles([self])
        inner = torch.linalg.solve_triangular(
            lower[0], self.permutation.mT, upper=False, unitriangular=True
        )
        inverse: Tensor = torch.linalg.solve_triangular(upper[0], inner, upper=True)
        return inverse

    @staticmethod
    def _triangles(convolutions: Sequence[PLUConv1x1]) -> tuple[Tensor, Tensor, Tensor]:
        lower = torch.stack([convolution.lower for convolution in convolutions])
        upper = torch.stack([convolution.upper for convolution in convolutions])
        log_diagonal = torch.stack([convolution.log_diagonal for convolution in convolutions])
        signs = torch.stack([convolution.signs for convolution in convolutions])
        diagonal = (signs * log_diagonal.exp()).diag_embed()  # (K, C, C)
        return lower.tril(-1) + convolutions[0].identity, upper.triu(1) + diagonal, log_diagonal


class FullConv1x1(InvertibleConv1x1):
    """1x1 convolution whose matrix is the parameter itself: C^2 numbers."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(random_rotation(num_channels))

    @classmethod
    def matrices(cls, convolutions: Sequence[Self]) -> tuple[Tensor, Tensor]:
        """W and log |det W|; see `InvertibleConv1x1.matrices`."""
        weights = torch.stack([convolution.weight for convolution in convolutions])
        return weights, torch.linalg.slogdet(weights).logabsdet

    def inverse_matrix(self) -> Tensor:
        """The inverse of W, shape (C, C)."""
        inverse: Tensor = torch.linalg.inv(self.weight)
        return inverse


def random_rotation(num_channels: int) -> Tensor:
    """A random orthogonal matrix.

    Args:
        num_channels: Size C.

    Returns:
        The matrix, shape (C, C).
    """
    rotation: Tensor = torch.linalg.qr(torch.randn(num_channels, num_channels)).Q
    return rotation


def mix_channels(x: Tensor, matrix: Tensor, offset: Tensor | None = None) -> Tensor:
    """Applies one affine map to the channels of every position.

    Args:
        x: Shape (B, C, H, W).
        matrix: Shape (C, C).
        offset: Shape (C,); None adds nothing.

    Returns:
        Shape (B, C, H, W).
    """
    return convolve(x, matrix[:, :, None, None], offset)
