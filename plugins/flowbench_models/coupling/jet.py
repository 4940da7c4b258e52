"""Jet: couplings of patches, computed by vision transformers."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from flowbench.api import (
    Context,
    DatasetInfo,
    InvertibleModel,
    Latents,
    ModelConfig,
    Phase,
    Preprocessing,
    Preset,
    Scale,
    Training,
    UniformDequantization,
)
from flowbench_models.bijections.base import Bijection, Composition, HalfCoupling, SigmoidAffine
from flowbench_models.bijections.channels import Permutation
from flowbench_models.defaults import LARGEST_TINY, small_training
from flowbench_models.nets.convolution import Conditioner
from flowbench_models.nets.transformer import TokenTransformer

Kind = Literal["channels", "spatial"]
"""What is halved: the values of each patch, in random order, or the patches."""

Pattern = Literal["checkerboard", "columns", "rows"]
"""Which patches condition in spatial couplings."""

SPATIAL: tuple[Pattern, ...] = ("checkerboard", "columns", "rows")
"""In turn, each followed by its opposite."""

CENTRED = Preprocessing(noise=UniformDequantization(), bijections=(Scale(low=-1.0, high=1.0),))
LARGEST_SCALE = 2.0

LR = 3e-4
PAPER_TRAINING = Training(
    batch_size=1024,
    optimizer="adamw",
    lr=LR,
    betas=(0.9, 0.95),
    # Of the weights at each step at the peak, not of the rate times the weights.
    weight_decay=1e-5 / LR,
    clip_norm=1.0,
    phases=(Phase(warmup=0.1),),
)


def _paper(summary: str, couplings: int, layers: int) -> Preset:
    return Preset(
        summary=f"{summary}; --budget 200epochs",
        source="paper",
        values={
            "patch_size": 4,
            "couplings": couplings,
            "layers": layers,
            "width": 512,
            "checkpointing": True,
            "training": PAPER_TRAINING,
        },
        assumptions=(
            "no published count: the layers of the released code, counted; its fixed "
            "permutations are no parameters",
            "the first moment is kept in float32 (released: bfloat16)",
        ),
    )


class JetConfig(ModelConfig):
    """Configuration of Jet.

    Attributes:
        patch_size: Pixels along each side of a patch; a patch is one token.
        couplings: Number of couplings.
        layers: Transformer layers of each.
        width: Channels of the transformers, a multiple of ``head_dim``.
        head_dim: Channels of an attention head.
        kinds: What couplings halve, in turn.
        checkpointing: Whether transformer layers are recomputed in the backward pass, for memory.
    """

    patch_size: int = Field(default=2, ge=1)
    couplings: int = Field(default=10, ge=1)
    layers: int = Field(default=1, ge=1)
    width: int = Field(default=64, ge=1)
    head_dim: int = Field(default=64, ge=1)
    kinds: tuple[Kind, ...] = Field(default=(*("channels",) * 4, "spatial"), min_length=1)
    checkpointing: bool = False
    preprocessing: Preprocessing = CENTRED

    presets: ClassVar[Mapping[str, Preset]] = {
        "digits": Preset(
            summary="ten couplings of one layer with 64 channels, for a minute on digits (8x8)",
            tuning_trials=4,
            values={"training": small_training(batch_size=64, lr=3e-3)},
        ),
        "natural-patches": Preset(
            summary="ten couplings of one layer with 128 channels, for minutes on 32x32 images",
            tuning_trials=2,
            values={
                "patch_size": 4,
                "width": 128,
                "training": small_training(batch_size=16, lr=2e-3),
            },
        ),
        "32x2": _paper(
            "207,177,216 parameters, 32 couplings of two layers (ImageNet 64x64)", 32, 2
        ),
        "64x5": _paper(
            "1,019,612,160 parameters, 64 couplings of five layers (ImageNet 64x64)", 64, 5
        ),
    }

    @model_validator(mode="after")
    def _heads_fill_the_width(self) -> Self:
        if self.width % self.head_dim:
            raise ValueError(
                f"width must be a multiple of head_dim, got {self.width} and {self.head_dim}"
            )
        return self

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``digits`` for images up to 16x16, else ``natural-patches``."""
        large = max(data.event_shape[1:], default=1) > LARGEST_TINY
        return "natural-patches" if large else "digits"

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Jet needs images of an even number of rows and columns of patches."""
        if len(data.event_shape) != 3:
            return f"jet needs images (C, H, W), {data.name} has events of shape {data.event_shape}"
        channels, height, width = data.event_shape
        twice = 2 * self.patch_size
        if height % twice or width % twice:
            return (
                f"jet with patch_size={self.patch_size} needs height and width divisible by "
                f"{twice}, {data.name} has {height}x{width}"
            )
        if channels * self.patch_size**2 % 2:
            return f"jet halves the values of a patch, {data.name} has one; set patch_size=2"
        return None


class Jet(InvertibleModel):
    r"""Jet.

    A vision transformer sees one half of an image's values and gives shift and scale of the other:
    :math:`z_b = (x_b + t(x_a))\,2 \sigma(s(x_a))`. Four couplings of each patch's values, in random
    order, are followed by one of patches, among them those of a checkerboard, of columns and of
    rows, and their opposites. There is neither a norm nor any other layer.

    Raises:
        ConfigError: The configuration does not fit the data.

    References:
        Kolesnikov et al. (2024), Jet: A Modern Transformer-Based Normalizing Flow,
        https://arxiv.org/abs/2412.15129, with the details of the released code.
    """

    config: JetConfig

    def __init__(self, config: JetConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        patch = config.patch_size
        channels, height, width = data.event_shape
        num_tokens, token_dims = height * width // patch**2, channels * patch**2
        tokens = _patches(data.event_shape, patch)
        parts: list[Bijection] = []
        num_spatial = 0
        for index in range(config.couplings):
            if config.kinds[index % len(config.kinds)] == "channels":
                order = _by_values(tokens, index)
            else:
                order = _by_patches(tokens, width // patch, num_spatial)
                num_spatial += 1
            net = TokenNet(config, num_tokens, token_dims // 2)
            law = SigmoidAffine(offset=0.0, factor=LARGEST_SCALE)
            coupling = HalfCoupling(law, net, swap=False)
            parts.append(Reordered(coupling, order, (token_dims, num_tokens)))
        self.flow = Composition(parts)

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One flat latent."""
        return ((self.data.num_dims,),)

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        """Maps images (B, C, H, W) to the latent; see `InvertibleModel.to_latent`."""
        z, ladj = self.flow(x.flatten(1))
        return (z,), ladj

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        """Maps the latent to images."""
        return self.flow.inverse(latents[0]).view(-1, *self.data.event_shape)


class Reordered(Bijection):
    """A bijection of values in another order and shape; they come back in their own.

    Args:
        inner: Maps values (B, *shape).
        order: Where each of its values comes from.
        shape: Event shape that it gets.

    Example:
        >>> from flowbench_models.bijections.channels import ActNorm
        >>> z, ladj = Reordered(ActNorm(2), [3, 1, 0, 2], (2, 2))(torch.arange(4.0).view(1, 4))
        >>> z.detach()
        tensor([[0., 1., 2., 3.]])
    """

    def __init__(self, inner: Bijection, order: Sequence[int], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.inner, self.shape = inner, shape
        self.permutation = Permutation(order)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, D) to latent; see `Bijection.forward`."""
        z, ladj = self.inner(self.permutation(x)[0].view(-1, *self.shape))
        return self.permutation.inverse(z.flatten(1)), ladj

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        x = self.inner.inverse(self.permutation(z)[0].view(-1, *self.shape))
        return self.permutation.inverse(x.flatten(1))


class TokenNet(Conditioner):
    """A vision transformer of tokens whose values are the channels."""

    def __init__(self, config: JetConfig, num_tokens: int, token_dims: int) -> None:
        super().__init__()
        self.checkpointing = config.checkpointing
        self.net = TokenTransformer(
            token_dims,
            SigmoidAffine.num_parameters * token_dims,
            num_tokens=num_tokens,
            width=config.width,
            num_layers=config.layers,
            head_dim=config.head_dim,
            causal=False,
            last_norm=True,
            position_std=config.width**-0.5,
        )
        # So that the first scale is 1 and the first shift 0.
        torch.nn.init.zeros_(self.net.read_out.bias)

    def forward(self, h: Tensor) -> Tensor:
        """Maps values (B, token_dims, N) to parameters (B, 2 token_dims, N)."""
        parameters: Tensor = self.net(h.transpose(1, 2), None, checkpoint=self.checkpointing)
        return parameters.transpose(1, 2)


Order = list[list[int]]
"""For each token where its values come from in an image, flat."""


def _patches(shape: tuple[int, ...], patch: int) -> Order:
    channels, height, width = shape
    return [
        [
            (channel * height + row + i) * width + column + j
            for channel in range(channels)
            for i in range(patch)
            for j in range(patch)
        ]
        for row in range(0, height, patch)
        for column in range(0, width, patch)
    ]


def _by_values(tokens: Order, seed: int) -> list[int]:
    """The same random order of values in all tokens, the halves of it one behind the other."""
    values = list(range(len(tokens[0])))
    # Of its own seed: it follows from the configuration and need not be saved.
    random.Random(seed).shuffle(values)
    return [token[value] for value in values for token in tokens]


def _by_patches(tokens: Order, columns: int, index: int) -> list[int]:
    """The tokens of a pattern, then the others; each as two tokens of half as many values."""
    pattern, opposite = SPATIAL[index // 2 % len(SPATIAL)], index % 2
    halves: tuple[Order, Order] = ([], [])
    for number, token in enumerate(tokens):
        row, column = divmod(number, columns)
        parity = {"checkerboard": row + column, "columns": column, "rows": row}[pattern] % 2
        halves[parity ^ opposite].append(token)
    size = len(tokens[0]) // 2
    cut = [[part for t in half for part in (t[:size], t[size:])] for half in halves]
    return [token[value] for half in cut for value in range(size) for token in half]
