"""RealNVP: affine couplings over checkerboards and channels, for images and for vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowbench.api import DatasetInfo
from flowbench_models.bijections.base import (
    Bijection,
    Composition,
    ElementwiseMap,
    HalfCoupling,
    half_sizes,
    sum_event_dims,
)
from flowbench_models.bijections.batch_norm import BatchNorm
from flowbench_models.bijections.channels import ActNorm, FactorOut, Permutation, Squeeze
from flowbench_models.bijections.multiscale import MultiScale, MultiScaleModel
from flowbench_models.coupling.realnvp.config import RealNVPConfig
from flowbench_models.coupling.realnvp.networks import CouplingNet, ImageMLP
from flowbench_models.nets.convolution import Conditioner
from flowbench_models.nets.mlp import MLP

ImageShape = tuple[int, int, int]


class RealNVP(MultiScaleModel):
    r"""RealNVP.

    Images: each scale runs three checkerboard couplings, squeezes, runs three channel couplings and
    factors out half of the channels as a standard normal latent; the last scale has four
    checkerboard couplings. Vectors: couplings between halves that take turns.

    Raises:
        ConfigError: The configuration does not fit the data.

    References:
        Dinh et al. (2017), Density estimation using Real NVP, https://arxiv.org/abs/1605.08803,
        sections 3.6 and 4.1; details as in the released code, but for its doubling of normalised
        inputs, which the normalised convolution behind it undoes.
    """

    config: RealNVPConfig

    def __init__(self, config: RealNVPConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        if len(data.event_shape) == 1:
            # A vector has no scales, but is the same flow to the outside.
            self.flow = MultiScale([_vector_flow(config, data.num_dims)], [])
        else:
            scales = [_image_scale(config, data, index) for index in range(config.scales)]
            self.flow = MultiScale(scales, [FactorOut() for _ in range(config.scales - 1)])
            # Kernels too, or each convolution would lay its weight out anew.
            self.flow.to(memory_format=torch.channels_last)

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One latent a scale; a scale but the last leaves half of its values."""
        if len(self.data.event_shape) == 1:
            return (self.data.event_shape,)
        channels, height, width = self.data.event_shape
        factored = [
            (channels * 2**index, height // 2**index, width // 2**index)
            for index in range(1, self.config.scales)
        ]
        last = self.config.scales - 1
        return (*factored, (channels * 2**last, height // 2**last, width // 2**last))


class MaskedCoupling(Bijection):
    """Coupling whose parts are told apart by a mask, such as a checkerboard.

    Args:
        law: What happens to each transformed element.
        conditioner: Maps the data, with zeros in the place of transformed elements, to parameters
            for all elements, (B, num_parameters * C, ...).
        mask: 1 for elements that pass and condition, 0 for those that are transformed; broadcasts
            against the event shape.

    Example:
        >>> from flowbench_models.nets.convolution import ZeroConv2d
        >>> mask = checkerboard_mask(2, 2, even=True)
        >>> coupling = MaskedCoupling(TanhAffine(1.0), ZeroConv2d(1, 2), mask)
        >>> coupling.conditioner.bias.data = torch.tensor([5.0, 0.0])  # shift and scale
        >>> z, _ = coupling(torch.zeros(1, 1, 2, 2))
        >>> z.detach().view(2, 2)
        tensor([[0., 5.],
                [5., 0.]])
    """

    mask: Tensor

    def __init__(self, law: ElementwiseMap, conditioner: Conditioner, mask: Tensor) -> None:
        super().__init__()
        self.law = law
        self.conditioner = conditioner
        # Follows from the configuration, so weights need not hold it.
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, ...) to latent; see `Bijection.forward`."""
        passing = x * self.mask
        parameters = self.conditioner(passing).to(x.dtype)
        # Of all elements, half of them for nothing: a checkerboard has no contiguous halves.
        transformed, log_derivative = self.law(x, parameters)
        free = 1.0 - self.mask
        # Masked by a product, which keeps shapes fixed and waits for nothing.
        return passing + free * transformed, sum_event_dims(free * log_derivative)

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        passing = z * self.mask
        parameters = self.conditioner(passing).to(z.dtype)
        return passing + (1.0 - self.mask) * self.law.inverse(z, parameters)

    def initialize(self, x: Tensor) -> Tensor:
        """Initialises the conditioner from the elements that it sees."""
        self.conditioner.initialize(x * self.mask)
        z: Tensor = self(x)[0]
        return z


def checkerboard_mask(height: int, width: int, *, even: bool) -> Tensor:
    """The spatial checkerboard of RealNVP.

    Args:
        height: Number of rows H.
        width: Number of columns W.
        even: Whether positions with even row + column are the ones marked.

    Returns:
        1 at marked positions and 0 elsewhere, shape (1, H, W).
    """
    rows, columns = torch.arange(height).view(-1, 1), torch.arange(width).view(1, -1)
    return ((rows + columns) % 2 == (0 if even else 1)).to(torch.get_default_dtype()).unsqueeze(0)


class TanhAffine(ElementwiseMap):
    r"""Affine law of RealNVP, :math:`z = (x + t)\,e^{g \tanh s}` with one learned g.

    Args:
        initial_gain: First value of g; 0 starts with a volume-preserving map.

    Example:
        >>> z, log_derivative = TanhAffine(1.0)(torch.ones(1, 1), torch.tensor([[2.0, 100.0]]))
        >>> z.detach(), log_derivative.detach()
        (tensor([[8.1548]]), tensor([[1.]]))

    References:
        Dinh et al. (2017), Density estimation using Real NVP, https://arxiv.org/abs/1605.08803,
        section 4.1; shift before scale, and one g a coupling, as in the released code.
    """

    num_parameters = 2

    def __init__(self, initial_gain: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(initial_gain))

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latent; see `ElementwiseMap.forward`."""
        shift, log_scale = self._shift_and_log_scale(parameters)
        return (x + shift) * log_scale.exp(), log_scale

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        """Maps latent to data."""
        shift, log_scale = self._shift_and_log_scale(parameters)
        return z * (-log_scale).exp() - shift

    def _shift_and_log_scale(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw = parameters.chunk(2, dim=1)
        return shift, self.gain * raw.tanh()


def _image_scale(config: RealNVPConfig, data: DatasetInfo, index: int) -> Bijection:
    channels, height, width = data.event_shape
    channels, height, width = channels * 2**index, height // 2**index, width // 2**index
    is_last = index == config.scales - 1
    hidden = config.width * 2**index
    layers: list[Bijection] = []
    for turn in range(4 if is_last else 3):
        # In turns, so that each position is transformed by every second coupling.
        even = turn % 2 == 1
        layers += _checkerboard_coupling(config, (channels, height, width), hidden, even=even)
    if not is_last:
        layers.append(Squeeze())
        squeezed = (4 * channels, height // 2, width // 2)
        for turn in range(3):
            layers += _channel_coupling(config, squeezed, 2 * hidden, swap=turn % 2 == 1)
        # What goes on is then spread over the image like a checkerboard.
        layers.append(Permutation(_diagonal_first(channels)))
    return Composition(layers)


def _checkerboard_coupling(
    config: RealNVPConfig, shape: ImageShape, hidden: int, *, even: bool
) -> list[Bijection]:
    channels, height, width = shape
    mask = checkerboard_mask(height, width, even=even)
    net = _image_net(config, shape, 2 * channels, hidden, mask)
    return [
        MaskedCoupling(TanhAffine(initial_gain=0.0), net, mask),
        _flow_norm(config, channels, 1.0 - mask),
    ]


def _channel_coupling(
    config: RealNVPConfig, shape: ImageShape, hidden: int, *, swap: bool
) -> list[Bijection]:
    channels, height, width = shape
    half = channels // 2
    net = _image_net(config, (half, height, width), 2 * half, hidden)
    # The norm behind a coupling normalises what the coupling has transformed, as released.
    transformed = torch.arange(channels) < half if swap else torch.arange(channels) >= half
    return [
        HalfCoupling(TanhAffine(initial_gain=1.0), net, swap=swap),
        _flow_norm(config, channels, transformed.to(torch.get_default_dtype()).view(-1, 1, 1)),
    ]


def _image_net(
    config: RealNVPConfig,
    in_shape: ImageShape,
    num_outputs: int,
    hidden: int,
    mask: Tensor | None = None,
) -> Conditioner:
    if config.network == "mlp":
        layers = (config.width,) * config.blocks
        return ImageMLP(in_shape, num_outputs, layers, dropout=config.dropout)
    return CouplingNet(in_shape[0], num_outputs, hidden, config, mask)


def _vector_flow(config: RealNVPConfig, num_dims: int) -> Bijection:
    # Before the first coupling as well: a preprocessing need not standardise.
    layers: list[Bijection] = [_flow_norm(config, num_dims)]
    for turn in range(config.couplings):
        swap = turn % 2 == 1
        num_conditioning, num_transformed = half_sizes(num_dims, swap=swap)
        net = MLP(
            num_conditioning,
            (config.width,) * config.blocks,
            2 * num_transformed,
            dropout=config.dropout,
        )
        layers.append(HalfCoupling(TanhAffine(initial_gain=1.0), net, swap=swap))
        layers.append(_flow_norm(config, num_dims))
    return Composition(layers)


def _flow_norm(
    config: RealNVPConfig, num_channels: int, transformed: Tensor | None = None
) -> Bijection:
    if config.norm == "batch":
        return BatchNorm(num_channels, transformed)
    return ActNorm(num_channels)


def _diagonal_first(num_channels: int) -> list[int]:
    """Order after squeezing that keeps the main diagonals of the 2x2 blocks in the first half."""
    corners = (0, 3, 1, 2)  # top left, bottom right, top right, bottom left
    return [4 * channel + corner for corner in corners for channel in range(num_channels)]
