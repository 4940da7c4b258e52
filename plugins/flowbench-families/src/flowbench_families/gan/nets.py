"""Generators and critics: convolutions of stride two for images, perceptrons for vectors."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from flowbench_models.nets.mlp import MLP
from torch import Tensor, nn

KERNEL = 5
SLOPE = 0.2
"""Of leaky ReLUs below 0."""


class Generator(nn.Module):
    """From noise to images between -1 and 1, doubling height and width in each layer.

    Args:
        noise_dims: Size of the noise.
        width: Channels before the last layer; each layer before has twice as many.
        shape: Of an image.
        smallest: As in `halvings`.

    References:
        Gulrajani et al. (2017), Improved Training of Wasserstein GANs,
        https://arxiv.org/abs/1704.00028, and the released code for CIFAR-10. There even images are
        padded by one more on the other side: the networks are mirror images of these.
    """

    def __init__(
        self, noise_dims: int, width: int, shape: tuple[int, ...], *, smallest: int
    ) -> None:
        super().__init__()
        channels, num = shape[0], halvings(shape, smallest)
        most = width << (num - 1)
        self.first = (most, shape[1] >> num, shape[2] >> num)
        self.enter = nn.Linear(noise_dims, math.prod(self.first))
        self.enter_norm = nn.BatchNorm1d(math.prod(self.first))
        layers: list[nn.Module] = []
        for k in range(num - 1):
            layers += [_doubling(most >> k, most >> (k + 1)), nn.BatchNorm2d(most >> (k + 1))]
            layers += [nn.ReLU()]
        self.layers = nn.Sequential(*layers, _doubling(width, channels))
        start_as_released(self)

    def forward(self, noise: Tensor) -> Tensor:
        """Maps (B, noise_dims) to (B, C, H, W)."""
        h = F.relu(self.enter_norm(self.enter(noise))).unflatten(1, self.first)
        x: Tensor = self.layers(h).tanh()
        return x


class Critic(nn.Module):
    """From images to a number, halving height and width in each layer.

    Args:
        width: Channels behind the first layer; each layer after has twice as many.
        shape: Of an image.
        smallest: As in `halvings`.
        normalised: Whether a batch norm follows each layer but the first.

    References:
        As of `Generator`.
    """

    def __init__(
        self, width: int, shape: tuple[int, ...], *, smallest: int, normalised: bool
    ) -> None:
        super().__init__()
        before, num = shape[0], halvings(shape, smallest)
        layers: list[nn.Module] = []
        for k in range(num):
            layers.append(nn.Conv2d(before, width << k, KERNEL, stride=2, padding=KERNEL // 2))
            before = width << k
            if normalised and k:
                layers.append(nn.BatchNorm2d(before))
            layers.append(nn.LeakyReLU(SLOPE))
        self.layers = nn.Sequential(*layers)
        self.leave = nn.Linear(before * (shape[1] >> num) * (shape[2] >> num), 1)
        start_as_released(self)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, 1)."""
        out: Tensor = self.leave(self.layers(x).flatten(1))
        return out


def perceptron(num_inputs: int, width: int, layers: int, num_outputs: int) -> MLP:
    """A perceptron for either end, for vectors."""
    net = MLP(num_inputs, layers * [width], num_outputs, zero_output=False)
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return net


def halvings(shape: tuple[int, ...], smallest: int) -> int:
    """How often an image is halved: while it is even and larger than ``smallest``, at least once.

    Example:
        >>> halvings((3, 32, 32), 4), halvings((1, 28, 28), 4), halvings((3, 4, 4), 4)
        (3, 2, 1)
    """
    height, width, num = shape[1] // 2, shape[2] // 2, 1
    while height % 2 == width % 2 == 0 and min(height, width) > smallest:
        height, width, num = height // 2, width // 2, num + 1
    return num


def _doubling(num_inputs: int, num_outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(
        num_inputs, num_outputs, KERNEL, stride=2, padding=KERNEL // 2, output_padding=1
    )


@torch.no_grad()
def start_as_released(net: nn.Module) -> None:
    """Uniform weights after He for convolutions, after Glorot for linear layers; no biases."""
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
        elif isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            # With a stride of two a fourth of the kernel meets each value of the larger map.
            smaller, larger = layer.weight[0].numel(), layer.weight[:, 0].numel() / 4
            bound = math.sqrt(3.0 * 4.0 / (smaller + larger))
            nn.init.uniform_(layer.weight, -bound, bound)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
