"""Residual Flow, i-ResNet and i-DenseNet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench.api import (
    Batch,
    Context,
    DatasetInfo,
    InvertibleModel,
    Latents,
    Step,
    bits_per_dim,
)
from flowbench_models.bijections.base import Bijection, Composition
from flowbench_models.bijections.channels import FACTOR, ActNorm, Squeeze
from flowbench_models.residual.block import ResidualBlock, random_series
from flowbench_models.residual.config import EXACT_DIMS, IDenseNetConfig, ResidualFlowConfig
from flowbench_models.residual.lipschitz import (
    ConcatenatedLipSwish,
    LipSwish,
    SpectralConv2d,
    SpectralLinear,
    normalize_layers,
)

TOLERANCE = 1e-5
"""Of power iterations. A norm whose neighbours are as large settles late: at 1e-3, 5 % too low."""

MOST_IN_TRAINING = 20
"""Power iterations after a step, whose vectors the next step goes on from. Of large new weights 60
would be needed, which take twice as long as all else that a step does."""

SMALLEST_WEIGHT = 0.1  # of a concatenation, before the two are normalised; released code

Estimator = Callable[[ResidualBlock, Tensor], tuple[Tensor, Tensor]]


class ResidualFlow(InvertibleModel):
    r"""Residual blocks of contractions, between actnorms, over one or several scales.

    In training log-determinants are draws of a series of random length, whose gradient is that of
    its Neumann series. In evaluation they are exact up to 16 dims, and draws of a longer series
    above. `to_latent` has no source of noise: there a draw is always the same.

    References:
        Chen et al. (2019), Residual Flows for Invertible Generative Modeling,
        https://arxiv.org/abs/1906.02735; details as in the released code.
    """

    config: ResidualFlowConfig

    def __init__(self, config: ResidualFlowConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        shape = data.event_shape
        scales: list[Composition] = []
        self._left: list[tuple[int, ...]] = []  # shapes of what leaves after each scale
        for index, num_blocks in enumerate(config.blocks):
            ends = index < len(config.blocks) - 1  # with a squeeze, and with what leaves
            # Where the last half leaves, it does so behind the squeeze; released codes.
            before = config.factor_out == "first" if index else config.squeeze_first
            behind = ends and config.factor_out != "first"
            shape = _squeezed(shape) if before else shape
            blocks = [
                ResidualBlock(self.image_net(shape, first=index == turn == 0))
                for turn in range(num_blocks)
            ]
            normed = self._normed(blocks, shape[0], first=index == 0)
            scales.append(Composition([*[Squeeze()] * before, *normed, *[Squeeze()] * behind]))
            shape = _squeezed(shape) if behind else shape
            if ends and config.factor_out != "none":
                shape = self._leaves(shape)
        self._last_shape = shape
        num_dims = torch.Size(shape).numel()
        dense = [ResidualBlock(self.vector_net(num_dims)) for _ in range(config.dense_blocks)]
        normed = self._normed(dense, num_dims, first=not config.blocks) if dense else []
        self.scales = nn.ModuleList(scales)
        self.dense = Composition([Flatten(shape), *normed])
        self.prior = _learned_prior(data.num_dims) if config.learned_prior else None
        self.to(memory_format=torch.channels_last)

    def _normed(
        self, blocks: Sequence[ResidualBlock], num_channels: int, *, first: bool
    ) -> list[Bijection]:
        """Blocks with the actnorms before or around them."""

        def norm() -> FlooredActNorm:
            return FlooredActNorm(num_channels, self.config.variance_floor)

        before = self.config.norms == "before"
        layers: list[Bijection] = [norm()] if first and not before else []
        for block in blocks:
            layers += [norm(), block] if before else [block, norm()]
        return layers

    # --- networks ---------------------------------------------------------------------------------

    def image_net(self, shape: tuple[int, ...], *, first: bool) -> nn.Module:
        """The network of a block over images.

        Args:
            shape: Of the images, (C, H, W).
            first: Whether it is the first of all, whose input is not activated.

        Returns:
            A contraction.
        """
        (channels, *size), width = shape, self.config.width

        def convolution(num_inputs: int, num_outputs: int, kernel_size: int) -> SpectralConv2d:
            return SpectralConv2d(
                num_inputs,
                num_outputs,
                kernel_size,
                size=(size[0], size[1]),
                coefficient=self.config.coefficient,
            )

        return nn.Sequential(
            *[] if first else [self._activation()],
            convolution(channels, width, 3),
            self._activation(),
            convolution(width, width, 1),
            self._activation(),
            convolution(width, channels, 3),
        )

    def vector_net(self, num_dims: int) -> nn.Module:
        """The network of a block over vectors, or flattened images: a contraction."""
        sizes = [num_dims, *[self.config.dense_width] * self.config.dense_layers, num_dims]
        layers: list[nn.Module] = []
        for num_inputs, num_outputs in pairwise(sizes):
            coefficient = self.config.coefficient
            linear = SpectralLinear(num_inputs, num_outputs, coefficient=coefficient)
            layers += [self._activation(), linear]
        return nn.Sequential(*layers)

    def _activation(self) -> nn.Module:
        return LipSwish() if self.config.activation == "lipswish" else nn.ELU()

    # --- the harness's side -----------------------------------------------------------------------

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One flat latent."""
        return ((self.data.num_dims,),)

    def num_parameters(self) -> int:
        """Those that there are, and those that the paper's code counts and never uses."""
        return super().num_parameters() + self.config.unused

    def initialize(self, batch: Batch, *, generator: torch.Generator) -> None:
        """Normalises weights, and initialises norms layer by layer from a first batch."""
        normalize_layers(self.modules(), tolerance=TOLERANCE)
        with torch.no_grad():
            self._encode(batch.x, lambda block, x: (block.initialize(x), x.new_zeros(len(x))))

    def after_step(self, step: Step) -> None:
        """Iterates the singular vectors of the weights that the step has moved."""
        normalize_layers(self.modules(), tolerance=TOLERANCE, most=MOST_IN_TRAINING)

    def refit(self, batches: Iterable[Batch], *, generator: torch.Generator) -> None:
        """Finds the singular vectors of the present weights, which averaged ones need."""
        normalize_layers(self.modules(), tolerance=TOLERANCE)

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        """Maps data to one flat latent; see `InvertibleModel.to_latent`.

        Above 16 dims ladj is one estimate, from noise that is always the same.
        """
        series = iter(self._series(seed=0))
        noise = torch.from_numpy(np.random.default_rng(0).standard_normal(self.data.num_dims))

        def estimate(block: ResidualBlock, h: Tensor) -> tuple[Tensor, Tensor]:
            probe = noise[: h[0].numel()].to(h).view(1, *h.shape[1:])
            return block.estimate(h, probe.expand_as(h), next(series))

        z, ladj = self._encode(x, _exactly if self._is_exact else estimate)
        return (z,), ladj

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        """Maps the flat latent to data, each block by a fixed-point iteration.

        Raises:
            NotInvertibleError: A block's iteration does not come to rest.
        """
        z = latents[0] if self.prior is None else self.prior.inverse(latents[0])
        shapes = [*self._left, self._last_shape]
        parts = z.split([torch.Size(shape).numel() for shape in shapes], dim=1)
        left = [part.view(len(part), *shape) for part, shape in zip(parts, shapes, strict=True)][
            :-1
        ]
        x = self.dense.inverse(parts[-1])
        for index, scale in reversed(list(enumerate(self._scales()))):
            if index < len(left):
                halves = (x, left[index])
                x = torch.cat(halves if self.config.factor_out == "last" else halves[::-1], dim=1)
            x = scale.inverse(x)
        return x

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Log-density, exact or a draw of an unbiased estimate; see `DensityModel.log_prob`."""
        if self._is_exact:
            (z,), ladj = self.to_latent(x)
            return self.base_log_prob((z,)) + ladj
        seed = torch.randint(2**31, (), generator=generator, device=x.device)
        return self._estimate(x, int(seed), generator)

    def loss(self, batch: Batch, step: Step) -> Tensor:
        """Mean of draws of negative log-densities, in bits per dimension of the model's space."""
        drawn = self._estimate(batch.x, step.seed, step.generator)
        return bits_per_dim(drawn, self.data.num_dims).mean()

    # --- log-determinants -------------------------------------------------------------------------

    @property
    def _is_exact(self) -> bool:
        return self.data.num_dims <= EXACT_DIMS and not self.training

    def _estimate(self, x: Tensor, seed: int, generator: torch.Generator | None) -> Tensor:
        """A draw of the log-density, (B,), whose series are as long as the seed says."""
        series = iter(self._series(seed))

        def estimate(block: ResidualBlock, h: Tensor) -> tuple[Tensor, Tensor]:
            probe = torch.randn(h.shape, generator=generator, dtype=h.dtype, device=h.device)
            return block.estimate(h, probe, next(series))

        z, ladj = self._encode(x, estimate)
        return self.base_log_prob((z,)) + ladj

    def _series(self, seed: int) -> Sequence[Sequence[float]]:
        """Coefficients of each block's series."""
        config = self.config
        num_blocks = sum(config.blocks) + config.dense_blocks
        if self.training and config.training_terms is not None:
            return [[1.0] * config.training_terms] * num_blocks
        exact = config.exact_terms if self.training else config.evaluation_terms
        # On the host, and of all blocks at once: what decides on lengths is not waited for.
        extra = np.random.default_rng(seed).poisson(config.rate, num_blocks)
        return [random_series(int(n), exact=exact, rate=config.rate) for n in extra]

    def _encode(self, x: Tensor, of_block: Estimator) -> tuple[Tensor, Tensor]:
        """The flat latent, and ladj with what ``of_block`` gives for each block."""
        left, ladj = [], x.new_zeros(len(x))
        for index, scale in enumerate([*self._scales(), self.dense]):
            for part in scale.parts():
                if isinstance(part, ResidualBlock):
                    x, term = of_block(part, x)
                else:
                    x, term = part(x)
                ladj = ladj + term
            if index < len(self._left):
                x, out = self._split(x)
                left.append(out.flatten(1))
        z = torch.cat([*left, x], dim=1)
        if self.prior is None:
            return z, ladj
        z, term = self.prior(z)
        return z, ladj + term

    def _scales(self) -> list[Composition]:
        return cast("list[Composition]", list(self.scales))

    def _leaves(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Notes what leaves after a scale, and gives the shape of what goes on."""
        channels, *size = shape
        half = channels // 2
        goes_on = half if self.config.factor_out == "last" else channels - half
        self._left.append((channels - goes_on, *size))
        return (goes_on, *size)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What goes on, and what leaves."""
        half = x.shape[1] // 2
        first, second = x[:, :half], x[:, half:]
        return (first, second) if self.config.factor_out == "last" else (second, first)


class IResNet(ResidualFlow):
    """i-ResNet: residual blocks trained with a series that is cut off after five terms.

    References:
        Behrmann et al. (2019), Invertible Residual Networks, https://arxiv.org/abs/1811.00995;
        details as in the released code.
    """


class IDenseNet(ResidualFlow):
    """i-DenseNet: a Residual Flow whose blocks are dense networks.

    References:
        Perugachi-Diaz et al. (2021), Invertible DenseNets with Concatenated LipSwish,
        https://arxiv.org/abs/2102.02694; details as in the released code.
    """

    config: IDenseNetConfig

    def image_net(self, shape: tuple[int, ...], *, first: bool) -> nn.Module:
        """Dense layers of 3x3 convolutions, and a 1x1 convolution; see the base class."""
        channels, height, width = shape

        def convolution(num_inputs: int, num_outputs: int, kernel_size: int = 3) -> SpectralConv2d:
            return SpectralConv2d(
                num_inputs,
                num_outputs,
                kernel_size,
                size=(height, width),
                coefficient=self.config.coefficient,
            )

        dense, num_outputs = self._dense(channels, self.config.growth, convolution)
        return nn.Sequential(*dense, convolution(num_outputs, channels, 1))

    def vector_net(self, num_dims: int) -> nn.Module:
        """A linear layer, if there is one, dense layers and one more linear layer."""

        def linear(num_inputs: int, num_outputs: int) -> SpectralLinear:
            coefficient = self.config.coefficient
            return SpectralLinear(num_inputs, num_outputs, coefficient=coefficient)

        width = self.config.dense_width
        before = [linear(num_dims, width)] if width else []
        dense, num_outputs = self._dense(width or num_dims, self.config.dense_growth, linear)
        return nn.Sequential(*before, *dense, linear(num_outputs, num_dims))

    def _dense(
        self, num_inputs: int, growth: int, layer: Callable[[int, int], nn.Module]
    ) -> tuple[list[nn.Module], int]:
        """Dense layers, and the channels that leave the last."""
        layers: list[nn.Module] = []
        for _ in range(self.config.depth):
            # Half of what it adds: its activation has two outputs for each input.
            inner = nn.Sequential(layer(num_inputs, growth // 2), ConcatenatedLipSwish())
            layers.append(WeightedConcatenation(inner, self.config.concatenation))
            num_inputs += growth
        return layers, num_inputs

    def after_step(self, step: Step) -> None:
        """Iterates singular vectors; keeps concatenations' weights alike for a time."""
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, WeightedConcatenation):
                    waits = step.progress < self.config.concatenation_from
                    module.raw.copy_(torch.where(waits, 1.0, module.raw))
        super().after_step(step)


class WeightedConcatenation(nn.Module):
    r"""A dense layer, :math:`[\eta_1 h, \eta_2 f(h)]` along axis 1.

    :math:`\eta_i = c\,e_i / \sqrt{e_1^2 + e_2^2}` with :math:`e_i = \mathrm{softplus}(k_i) + 0.1`,
    so that its Lipschitz constant is at most c if that of f is at most 1.

    Args:
        inner: f.
        coefficient: c.
    """

    def __init__(self, inner: nn.Module, coefficient: float) -> None:
        super().__init__()
        self.inner, self.coefficient = inner, coefficient
        self.raw = nn.Parameter(torch.ones(2))

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, C, ...) to (B, C + growth, ...)."""
        weights = F.softplus(self.raw) + SMALLEST_WEIGHT
        eta = self.coefficient * weights / torch.linalg.vector_norm(weights)
        return torch.cat((eta[0] * h, eta[1] * self.inner(h)), dim=1)


class FlooredActNorm(ActNorm):
    """`ActNorm` whose first batch counts as having at least some variance.

    Args:
        floor: That variance.

    References:
        Chen et al. (2019), https://arxiv.org/abs/1906.02735; the floor is that of the released
        code.
    """

    def __init__(self, num_channels: int, floor: float) -> None:
        super().__init__(num_channels)
        self.floor = floor

    @torch.no_grad()
    def initialize(self, x: Tensor) -> Tensor:
        """Sets b and s from a first batch; a second call changes nothing."""
        if not self.initialized:
            axes = (0, *range(2, x.ndim))
            variance, mean = torch.var_mean(x, dim=axes)
            self.shift.copy_(-mean)
            self.log_scale.copy_(-0.5 * variance.clamp_min(self.floor).log())
            self.initialized.fill_(True)
        z: Tensor = self(x)[0]
        return z


class Flatten(Bijection):
    """(B, ...) as (B, D); its ladj is 0.

    Args:
        shape: Of an event.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latent."""
        return x.flatten(1), x.new_zeros(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        return z.view(-1, *self.shape)


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    channels, height, width = shape
    return (channels * FACTOR**2, height // FACTOR, width // FACTOR)


def _exactly(block: ResidualBlock, h: Tensor) -> tuple[Tensor, Tensor]:
    z, ladj = block(h)
    return z, ladj


def _learned_prior(num_dims: int) -> ActNorm:
    """Maps a normal latent of learned mean and scale, at the start 0 and 1, to a standard one."""
    prior = ActNorm(num_dims)
    prior.initialized.fill_(True)  # no batch sets it
    return prior
