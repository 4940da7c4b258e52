"""MintNet: masked convolutions whose Jacobian is triangular, with positive slopes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from flowbench.api import (
    Context,
    DatasetInfo,
    InvertibleModel,
    Latents,
    ModelConfig,
    NotInvertibleError,
    Phase,
    Preprocessing,
    Preset,
    Training,
)
from flowbench_models.bijections.base import Bijection, Composition, sum_event_dims
from flowbench_models.bijections.channels import FACTOR
from flowbench_models.defaults import (
    LOGIT,
    SHARP_LOGIT,
    STANDARDISED,
    TABLE_TRAINING,
    VECTOR_TRAINING,
    halving_problem,
    is_large,
    is_toy,
    small_training,
)
from flowbench_models.nets.convolution import convolve
from flowbench_models.residual.block import inverse_tolerance, iterate

START_GAIN = 0.005  # of the weights; released code
SMALLEST_SLOPE = 1e-12  # released code
MOST_ITERATIONS, MOST_ATTEMPTS = 500, 5
"""Of the inverse's iteration, and of its beginning again with half the steps."""

PAPER: Mapping[str, Any] = {
    "layers": 21,
    "subsamplings": 2,
    "multiplier": 85,
    "preprocessing": LOGIT,
    "training": Training(
        batch_size=32, lr=1e-3, phases=(Phase(warmup=0.0),), augment=("horizontal_flip",)
    ),
}
OPTIMIZER = "plain Adam; the released code has its variant amsgrad, with 1e-4 under the root"


def _paper(summary: str, **values: Any) -> Preset:
    return Preset(
        summary=summary, source="paper", values={**PAPER, **values}, assumptions=(OPTIMIZER,)
    )


class MintNetConfig(ModelConfig):
    """Configuration of MintNet.

    Attributes:
        layers: Layers of two blocks, one for each order of the elements.
        subsamplings: How often blocks of 2x2 pixels become channels, at equal distances between
            layers; 0 for vectors.
        multiplier: Hidden channels of a block for each of its channels. Each subsampling, which
            makes four channels of one, divides it by four.
        damping: The inverse's iteration takes Newton's steps divided by this.
    """

    layers: int = Field(default=6, ge=1)
    subsamplings: int = Field(default=1, ge=0)
    multiplier: int = Field(default=32, ge=1)
    damping: float = Field(default=1.1, gt=0.5)
    preprocessing: Preprocessing = LOGIT

    presets: ClassVar[Mapping[str, Preset]] = {
        "toy": Preset(
            summary="two layers and one subsampling, for images of a few pixels",
            values={
                "layers": 2,
                "training": small_training(batch_size=32, weight_decay=0.01),
            },
        ),
        "tiny": Preset(
            summary="six layers and one subsampling, for digits (8x8)",
            tuning_trials=4,
            values={"training": small_training(batch_size=32, lr=6e-3, weight_decay=0.01)},
        ),
        "patches": Preset(
            summary="six layers and two subsamplings, for minutes on 32x32 images",
            tuning_trials=2,
            values={
                "subsamplings": 2,
                "multiplier": 16,
                "training": small_training(batch_size=16, weight_decay=0.01),
            },
        ),
        "vector": Preset(
            summary="six layers, for points in the plane",
            values={
                "subsamplings": 0,
                "preprocessing": STANDARDISED,
                "training": VECTOR_TRAINING.model_copy(update={"lr": 5e-3}),
            },
        ),
        "table": Preset(
            summary="three layers, for tables of some hundred rows",
            values={
                "layers": 3,
                "subsamplings": 0,
                "multiplier": 4,
                "preprocessing": STANDARDISED,
                "training": TABLE_TRAINING,
            },
        ),
        "cifar10": _paper("27,460,944 parameters, the CIFAR-10 model"),
        "imagenet32": _paper(
            "27,460,944 parameters, the ImageNet 32x32 model",
            damping=1.15,
            training=Training(batch_size=32, lr=1e-3, phases=(Phase(warmup=0.0),)),
        ),
        "mnist": _paper(
            "805,272 parameters, the MNIST model",
            layers=20,
            multiplier=45,
            damping=3.5,
            preprocessing=SHARP_LOGIT,
            training=Training(
                batch_size=32,
                lr=1e-3,
                phases=(
                    Phase(warmup=0.0, schedule="step", drops=(250 / 600, 350 / 600, 450 / 600)),
                ),
            ),
        ),
    }

    @model_validator(mode="after")
    def _layers_lie_around_subsamplings(self) -> Self:
        if self.layers <= self.subsamplings:
            raise ValueError(
                f"layers must be more than subsamplings, got {self.layers} and {self.subsamplings}"
            )
        return self

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``tiny`` or ``patches`` for images, ``vector`` or, above three dims, ``table``.

        Images of fewer than 8x8 pixels take ``toy``.
        """
        if is_toy(data):
            return "toy"
        if len(data.event_shape) == 3:
            return "patches" if is_large(data) else "tiny"
        return "vector" if data.num_dims <= 3 else "table"

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Subsamplings need images, whose size halves each time."""
        if not self.subsamplings:
            return None
        name = f"mintnet with subsamplings={self.subsamplings}"
        return halving_problem(data, self.subsamplings, model=name, remedy="set fewer")


class MintNet(InvertibleModel):
    """Pairs of triangular blocks, in one order of the elements and in the other.

    Vectors are images of one pixel.

    References:
        Song et al. (2019), MintNet: Building Invertible Neural Networks with Masked Convolutions,
        https://arxiv.org/abs/1907.07945; details as in the released code.
    """

    config: MintNetConfig

    def __init__(self, config: MintNetConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        is_image = len(data.event_shape) == 3
        shape = data.event_shape if is_image else (data.num_dims, 1, 1)
        multiplier, layers = config.multiplier, list[Bijection]()
        between = config.layers // (config.subsamplings + 1)
        for index in range(config.layers):
            if index in range(between, between * config.subsamplings + 1, between):
                layers.append(SpaceToDepth())
                shape = (shape[0] * FACTOR**2, shape[1] // FACTOR, shape[2] // FACTOR)
                multiplier = max(1, multiplier // FACTOR**2)
            for reverse in (False, True):
                kernel_size = 3 if is_image else 1  # of one pixel no more than that is seen
                layers.append(
                    TriangularBlock(
                        shape, multiplier, kernel_size, reverse=reverse, damping=config.damping
                    )
                )
        self.flow = Composition(layers)
        self._input_shape = data.event_shape if is_image else (data.num_dims, 1, 1)
        self._latent_shape = shape

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One latent, of the shape behind the last subsampling."""
        return (self._latent_shape,)

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        """Maps data to one latent; see `InvertibleModel.to_latent`."""
        z, ladj = self.flow(x.view(-1, *self._input_shape))
        return (z,), ladj

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        """Maps the latent to data, each block by an iteration.

        Raises:
            NotInvertibleError: A block's iteration does not come to rest.
        """
        return self.flow.inverse(latents[0]).view(-1, *self.data.event_shape)


class _Layers(NamedTuple):
    """What the three convolutions of a block are at present.

    Attributes:
        weights: As they are used, one a convolution.
        diagonals: Weights from an element to itself: (L, C), (L, L, C) from the second index to
            the first, and (L, C).
        slope: t, shape (C, H, W).
    """

    weights: tuple[Tensor, Tensor, Tensor]
    diagonals: tuple[Tensor, Tensor, Tensor]
    slope: Tensor


class TriangularBlock(Bijection):
    r"""Three masked convolutions with ELU and a positive multiple of the input, z = h(x) + t x.

    In an order of the elements (channel after channel, each in raster order) z depends on x and on
    elements before it alone. Weights from an element to itself have signs such that h increases in
    it: of the second convolution that of the product of those around it. So ladj is the sum of the
    logarithms of dh/dx + t.

    Args:
        shape: Of an event, (C, H, W).
        multiplier: Hidden channels L of each channel.
        kernel_size: Of all convolutions, odd.
        reverse: Whether the last element comes first.
        damping: As in `MintNetConfig`.

    Example:
        >>> block = TriangularBlock((3, 4, 4), 2, 3, reverse=False, damping=1.1)
        >>> x = torch.randn(2, 3, 4, 4)
        >>> z, ladj = block(x)
        >>> torch.allclose(block.inverse(z), x, atol=1e-5)
        True

    References:
        Song et al. (2019), MintNet, https://arxiv.org/abs/1907.07945, section 3.
    """

    mask: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        multiplier: int,
        kernel_size: int,
        *,
        reverse: bool,
        damping: float,
    ) -> None:
        super().__init__()
        self.num_channels, self.multiplier, self.damping = shape[0], multiplier, damping
        sizes = [shape[0], multiplier * shape[0], multiplier * shape[0], shape[0]]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for num_inputs, num_outputs in pairwise(sizes):
            weight = torch.empty(num_outputs, num_inputs, kernel_size, kernel_size)
            self.weights.append(nn.init.xavier_normal_(weight, START_GAIN))
            bound = weight[0].numel() ** -0.5
            self.biases.append(torch.empty(num_outputs).uniform_(-bound, bound))
        self.slope = nn.Parameter(torch.ones(shape))
        mask = causal_mask(shape[0], kernel_size)
        # The order of everything turned around: of channels, rows and columns.
        mask = mask.flip(0, 1, 2, 3) if reverse else mask
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, H, W) to latent; see `Bijection.forward`."""
        z, slopes = self._evaluate(x, self._layers())
        return z, sum_event_dims(slopes.log())

    @torch.no_grad()
    def inverse(self, z: Tensor) -> Tensor:
        r"""Maps latent to data by :math:`x \leftarrow x - (f(x) - z) / (\alpha f'(x))`.

        Where that does not come to rest, it begins again with twice the damping :math:`\alpha`.

        Raises:
            NotInvertibleError: Nor does it then.
        """
        tolerance = inverse_tolerance(z)
        layers, damping = self._layers(), self.damping
        for _ in range(MOST_ATTEMPTS):
            newton = functools.partial(self._newton, layers=layers, damping=damping)
            x, change = iterate(newton, z / layers.slope, z, MOST_ITERATIONS)
            if change <= tolerance:
                return x
            damping *= 2
        raise NotInvertibleError(
            f"the inverse of a MintNet block still moves by {change:.2g} of its values after "
            f"{MOST_ITERATIONS} iterations with damping {damping / 2:g}, expected at most "
            f"{tolerance:.1g}; set a larger damping"
        )

    def _newton(self, x: Tensor, z: Tensor, *, layers: _Layers, damping: float) -> Tensor:
        """One damped step towards f(x) = z."""
        value, slopes = self._evaluate(x, layers)
        return x - (value - z) / (damping * slopes)

    def _layers(self) -> _Layers:
        channels, many, mask = self.num_channels, self.multiplier, self.mask
        first, second, third = self.weights
        kernel = mask.shape[2:]
        middle = kernel[0] // 2
        first = first.view(many, channels, channels, *kernel) * mask
        second = second.view(many, channels, many, channels, *kernel) * mask[:, None]
        third = third.view(channels, many, channels, *kernel) * mask[:, None]
        in_first = first[..., middle, middle].diagonal(dim1=1, dim2=2)  # (L, C)
        in_third = third[..., middle, middle].diagonal(dim1=0, dim2=2)  # (L, C)
        found = second[..., middle, middle].diagonal(dim1=1, dim2=3)  # (L, L, C), outputs first
        in_second = in_third.sign()[:, None] * in_first.sign() * found.abs()
        turned = (in_second - found).diag_embed(dim1=1, dim2=3)[..., None, None]
        second = second + F.pad(turned, (middle,) * 4)
        return _Layers(
            weights=(first.flatten(0, 1), second.flatten(2, 3).flatten(0, 1), third.flatten(1, 2)),
            diagonals=(in_first, in_second, in_third),
            slope=self.slope.abs().clamp_min(SMALLEST_SLOPE),
        )

    def _evaluate(self, x: Tensor, layers: _Layers) -> tuple[Tensor, Tensor]:
        """z, and the slope of each element in itself."""
        parts = (self.multiplier, self.num_channels)
        in_first, in_second, in_third = layers.diagonals
        h = convolve(x, layers.weights[0], self.biases[0])
        slopes = _elu_slope(h).unflatten(1, parts) * in_first[..., None, None]  # (B, L, C, H, W)
        slopes = torch.einsum("mlc,blchw->bmchw", in_second, slopes)
        h = convolve(F.elu(h), layers.weights[1], self.biases[1])
        slopes = slopes * _elu_slope(h).unflatten(1, parts)
        slopes = torch.einsum("lc,blchw->bchw", in_third, slopes)
        h = convolve(F.elu(h), layers.weights[2], self.biases[2])
        return h + layers.slope * x, slopes + layers.slope


class SpaceToDepth(Bijection):
    """Turns each 2x2 block into four channels, its pixels outermost; its ladj is 0.

    Of two channels, those of a block's first pixel are followed by those of its second, where
    `Squeeze` has the four pixels of the first channel first.

    Example:
        >>> x = torch.arange(8.0).view(1, 2, 2, 2)
        >>> SpaceToDepth()(x)[0].flatten()
        tensor([0., 4., 1., 5., 2., 6., 3., 7.])
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, H, W) to latent; see `Bijection.forward`."""
        blocks = F.pixel_unshuffle(x, FACTOR).unflatten(1, (-1, FACTOR**2))
        return blocks.transpose(1, 2).flatten(1, 2), x.new_zeros(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        blocks = z.unflatten(1, (FACTOR**2, -1)).transpose(1, 2)
        return F.pixel_shuffle(blocks.flatten(1, 2), FACTOR)


def causal_mask(num_channels: int, kernel_size: int) -> Tensor:
    """Which weights lead to an element from itself or from elements before it.

    Channel goes before channel: of those before all is seen, of the own what is above, or to the
    left in the same row.

    Args:
        num_channels: Size C.
        kernel_size: Size k, odd.

    Returns:
        1 for weights that do, else 0; shape (C, C, k, k), outputs first.

    Example:
        >>> causal_mask(2, 3)[1, 1]
        tensor([[1., 1., 1.],
                [1., 1., 0.],
                [0., 0., 0.]])
    """
    own = torch.zeros(kernel_size**2)
    own[: kernel_size**2 // 2 + 1] = 1.0
    own = own.view(kernel_size, kernel_size)
    channels = torch.ones(num_channels, num_channels)
    before, same = channels.tril(-1)[..., None, None], torch.eye(num_channels)[..., None, None]
    return before + same * own


def _elu_slope(h: Tensor) -> Tensor:
    return h.clamp_max(0.0).exp()
